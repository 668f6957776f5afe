//! What each operation does to the pool and to the model.

use super::*;

impl World {
    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Alloc(account) => {
                let (page, charged, free) = match account
                    .checked_sub(1)
                    .map(|slot| &mut self.reserves[slot])
                {
                    None => (self.pool.alloc(), None, &mut self.general_free),
                    Some(Some((reserve, serial, free))) => (reserve.alloc(), Some(*serial), free),
                    Some(None) => return,
                };
                assert_eq!(page.is_some(), *free > 0);
                let Some(page) = page else { return };
                *free -= 1;
                let block = page.block().index();
                assert_eq!(
                    self.blocks[block].handles, 0,
                    "a block in use was given out"
                );
                (self.blocks[block].handles, self.blocks[block].charged) = (1, charged);
                self.held.push(Held {
                    handle: Handle::Unique(page),
                    block,
                    extent: (0, SIZE),
                    window: (0, 0),
                });
            }
            Op::Reset(at, headroom) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, _, extent, window) = self.unique(at);
                let fits = headroom <= extent.1 - extent.0;
                assert_eq!(page.reset(headroom).is_ok(), fits);
                if fits {
                    *window = (extent.0 + headroom, extent.0 + headroom);
                }
            }
            Op::Append(at, count, byte) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, extent, window) = self.unique(at);
                let fits = count <= extent.1 - window.1;
                let room = page.append(count);
                assert_eq!(room.is_some(), fits);
                if let Some(room) = room {
                    assert_eq!(room, &block.bytes[window.1..window.1 + count]);
                    room.fill(byte);
                    block.bytes[window.1..window.1 + count].fill(byte);
                    window.1 += count;
                }
            }
            Op::Prepend(at, count, byte) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, extent, window) = self.unique(at);
                let fits = count <= window.0 - extent.0;
                let room = page.prepend(count);
                assert_eq!(room.is_some(), fits);
                if let Some(room) = room {
                    assert_eq!(room, &block.bytes[window.0 - count..window.0]);
                    room.fill(byte);
                    block.bytes[window.0 - count..window.0].fill(byte);
                    window.0 -= count;
                }
            }
            Op::SetLen(at, len) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, _, extent, window) = self.unique(at);
                let fits = len <= extent.1 - window.0;
                assert_eq!(page.set_len(len).is_ok(), fits);
                if fits {
                    window.1 = window.0 + len;
                }
            }
            Op::Truncate(at, len) => {
                let Some(at) = self.pick(at) else { return };
                let held = &mut self.held[at];
                match &mut held.handle {
                    Handle::Unique(page) => page.truncate(len),
                    Handle::Frozen(page) => page.truncate(len),
                    _ => return,
                }
                held.window.1 = held.window.1.min(held.window.0.saturating_add(len));
            }
            Op::Advance(at, count) => {
                let Some(at) = self.pick(at) else { return };
                let held = &mut self.held[at];
                let done = match &mut held.handle {
                    Handle::Unique(page) => page.advance(count),
                    Handle::Frozen(page) => page.advance(count),
                    _ => return,
                };
                assert_eq!(done.is_ok(), count <= held.window.1 - held.window.0);
                if done.is_ok() {
                    held.window.0 += count;
                }
            }
            Op::Expand(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, _, extent, window) = self.unique(at);
                page.expand();
                *window = *extent;
            }
            Op::Widen(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let sole = self.sole(self.held[at].block);
                let (page, _, extent, _) = self.unique(at);
                assert_eq!(page.widen(), sole);
                if sole {
                    *extent = (0, SIZE);
                }
            }
            Op::Scrub(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, extent, window) = self.unique(at);
                page.scrub();
                block.bytes[extent.0..window.0].fill(0);
                block.bytes[window.1..extent.1].fill(0);
            }
            Op::Fill(at, byte) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, _, window) = self.unique(at);
                page.fill(byte);
                block.bytes[window.0..window.1].fill(byte);
            }
            Op::Split(at, mid) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let Handle::Unique(page) = handle else { return };
                let fits = mid <= window.1 - window.0;
                match page.split_at(mid) {
                    Ok((front, back)) => {
                        assert!(fits);
                        let cut = window.0 + mid;
                        self.blocks[block].handles += 1;
                        let (extent, window) = (
                            ((extent.0, cut), (cut, extent.1)),
                            ((window.0, cut), (cut, window.1)),
                        );
                        self.held.push(Held {
                            handle: Handle::Unique(front),
                            block,
                            extent: extent.0,
                            window: window.0,
                        });
                        self.held.push(Held {
                            handle: Handle::Unique(back),
                            block,
                            extent: extent.1,
                            window: window.1,
                        });
                    }
                    Err(page) => {
                        assert!(!fits);
                        self.held.push(Held {
                            handle: Handle::Unique(page),
                            block,
                            extent,
                            window,
                        });
                    }
                }
            }
            Op::Join(first, second) => {
                let (Some(first), Some(second)) =
                    (self.pick_unique(first), self.pick_unique(second))
                else {
                    return;
                };
                if first == second {
                    return;
                }
                // The later one is removed first, so that the other's place stays.
                let (low, high) = (first.min(second), first.max(second));
                let (b, a) = (self.held.remove(high), self.held.remove(low));
                let (front, back) = if first < second { (a, b) } else { (b, a) };
                let (Handle::Unique(page), Handle::Unique(next)) = (front.handle, back.handle)
                else {
                    return;
                };
                let empty = |window: (usize, usize)| window.0 == window.1;
                let adjacent = front.block == back.block && front.extent.1 == back.extent.0;
                let touch =
                    front.window.1 == back.window.0 || empty(front.window) || empty(back.window);
                match page.join(next) {
                    Ok(page) => {
                        assert!(adjacent && touch);
                        let window = match (empty(front.window), empty(back.window)) {
                            (false, false) => (front.window.0, back.window.1),
                            (true, false) => back.window,
                            // Two empty ones: where the first is.
                            _ => front.window,
                        };
                        self.blocks[front.block].handles -= 1;
                        let extent = (front.extent.0, back.extent.1);
                        self.held.push(Held {
                            handle: Handle::Unique(page),
                            block: front.block,
                            extent,
                            window,
                        });
                    }
                    Err((page, next)) => {
                        assert!(!(adjacent && touch));
                        self.held.push(Held {
                            handle: Handle::Unique(page),
                            ..front
                        });
                        self.held.push(Held {
                            handle: Handle::Unique(next),
                            ..back
                        });
                    }
                }
            }
            Op::Freeze(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let Held {
                    handle,
                    block,
                    window,
                    ..
                } = self.held.swap_remove(at);
                let Handle::Unique(page) = handle else { return };
                self.held.push(Held {
                    handle: Handle::Frozen(page.freeze()),
                    block,
                    extent: window,
                    window,
                });
            }
            Op::Clone(at) => {
                let Some(at) = self.pick_frozen(at) else {
                    return;
                };
                let Held {
                    handle: Handle::Frozen(page),
                    block,
                    window,
                    ..
                } = &self.held[at]
                else {
                    return;
                };
                let (block, window) = (*block, *window);
                let clone = Held {
                    handle: Handle::Frozen(page.clone()),
                    block,
                    extent: window,
                    window,
                };
                self.blocks[block].handles += 1;
                self.held.push(clone);
            }
            Op::Slice(at, from, to) => {
                let Some(at) = self.pick_frozen(at) else {
                    return;
                };
                let Held {
                    handle: Handle::Frozen(page),
                    block,
                    window,
                    ..
                } = &self.held[at]
                else {
                    return;
                };
                let (block, window) = (*block, *window);
                let fits = from <= to && to <= window.1 - window.0;
                let slice = page.slice(from..to);
                assert_eq!(slice.is_some(), fits);
                let Some(slice) = slice else { return };
                let window = (window.0 + from, window.0 + to);
                self.blocks[block].handles += 1;
                self.held.push(Held {
                    handle: Handle::Frozen(slice),
                    block,
                    extent: window,
                    window,
                });
            }
            Op::TryUnique(at) => {
                let Some(at) = self.pick_frozen(at) else {
                    return;
                };
                let Held {
                    handle,
                    block,
                    window,
                    ..
                } = self.held.swap_remove(at);
                let Handle::Frozen(page) = handle else { return };
                let held = match page.try_unique() {
                    Ok(page) => {
                        assert!(self.sole(block) && !self.blocks[block].quarantined);
                        Held {
                            handle: Handle::Unique(page),
                            block,
                            extent: (0, SIZE),
                            window,
                        }
                    }
                    Err(page) => {
                        assert!(!self.sole(block));
                        Held {
                            handle: Handle::Frozen(page),
                            block,
                            extent: window,
                            window,
                        }
                    }
                };
                self.held.push(held);
            }
            Op::Keep(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let (handle, kept) = match handle {
                    Handle::Unique(page) => match page.keep() {
                        Ok(page) => (Handle::Unique(page), true),
                        Err(page) => (Handle::Unique(page), false),
                    },
                    Handle::Frozen(page) => match page.keep() {
                        Ok(page) => (Handle::Frozen(page), true),
                        Err(page) => (Handle::Frozen(page), false),
                    },
                    other => (other, true),
                };
                let page = matches!(handle, Handle::Unique(_) | Handle::Frozen(_));
                self.held.push(Held {
                    handle,
                    block,
                    extent,
                    window,
                });
                assert_eq!(kept, !page || self.keep(block));
            }
            Op::Lend(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let lent_already = self.peer.access(block).is_some();
                let room = lent_already || self.peer.lent() < LENDABLE;
                match handle {
                    Handle::Unique(page) => {
                        let sole = self.sole(block);
                        match page.lend(self.peer) {
                            Ok(lent) => {
                                assert!(sole && room && !lent_already);
                                self.held.push(Held {
                                    handle: Handle::LentMut(lent),
                                    block,
                                    extent: (0, SIZE),
                                    window,
                                });
                            }
                            Err((page, error)) => {
                                assert_eq!(
                                    error,
                                    if sole {
                                        LendError::Exhausted
                                    } else {
                                        LendError::Shared
                                    }
                                );
                                let extent = if sole { (0, SIZE) } else { extent };
                                self.held.push(Held {
                                    handle: Handle::Unique(page),
                                    block,
                                    extent,
                                    window,
                                });
                            }
                        }
                    }
                    Handle::Frozen(page) => {
                        let writable = self.has_unique(block);
                        match page.lend(self.peer) {
                            Ok(lent) => {
                                assert!(!writable && room);
                                self.blocks[block].handles += 1;
                                self.held.push(Held {
                                    handle: Handle::Lent(lent),
                                    block,
                                    extent: window,
                                    window,
                                });
                            }
                            Err(error) => {
                                let expected = if writable {
                                    LendError::Writable
                                } else {
                                    LendError::Exhausted
                                };
                                assert_eq!(error, expected);
                            }
                        }
                        self.held.push(Held {
                            handle: Handle::Frozen(page),
                            block,
                            extent,
                            window,
                        });
                    }
                    other => self.held.push(Held {
                        handle: other,
                        block,
                        extent,
                        window,
                    }),
                }
            }
            Op::End(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let held_by_peer = self.blocks[block].held_by_peer;
                let handle = match handle {
                    Handle::LentMut(lent) => match lent.reclaim() {
                        Ok(page) => Handle::Unique(page),
                        Err(lent) => Handle::LentMut(lent),
                    },
                    Handle::Lent(lent) => match lent.end() {
                        Ok(page) => Handle::Frozen(page),
                        Err(lent) => Handle::Lent(lent),
                    },
                    other => {
                        self.held.push(Held {
                            handle: other,
                            block,
                            extent,
                            window,
                        });
                        return;
                    }
                };
                let ended = matches!(handle, Handle::Unique(_) | Handle::Frozen(_));
                assert_eq!(ended, !held_by_peer);
                self.held.push(Held {
                    handle,
                    block,
                    extent,
                    window,
                });
            }
            Op::Drop(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held { handle, block, .. } = self.held.swap_remove(at);
                let lent = matches!(handle, Handle::LentMut(_) | Handle::Lent(_));
                drop(handle);
                if lent {
                    // The count that it had stays.
                    self.blocks[block].quarantined = true;
                } else {
                    self.fall(block);
                }
            }
            Op::PeerWrite(block, offset, byte) => {
                let lent = self.peer.access(block);
                let done = self.peer.write(block, offset, &[byte; 3]);
                let fits = offset.checked_add(3).is_some_and(|end| end <= SIZE);
                let expected = match (lent, fits) {
                    (None, _) => Err(Violation::NotLent),
                    (Some(_), false) => Err(Violation::OutOfBounds),
                    (Some(Access::Read), true) => Err(Violation::ReadOnly),
                    (Some(Access::Write), true) => Ok(()),
                };
                assert_eq!(done, expected);
                if done.is_ok() {
                    self.blocks[block].bytes[offset..offset + 3].fill(byte);
                }
            }
            Op::PeerRead(block, offset) => {
                let mut seen = [0; 3];
                let done = self.peer.read(block, offset, &mut seen);
                let fits = offset.checked_add(3).is_some_and(|end| end <= SIZE);
                assert_eq!(done.is_ok(), self.peer.access(block).is_some() && fits);
                if done.is_ok() {
                    assert_eq!(seen, self.blocks[block].bytes[offset..offset + 3]);
                }
            }
            Op::PeerHold(block, hold) => {
                if self.peer.hold(block, hold).is_ok() {
                    self.blocks[block].held_by_peer = hold;
                }
            }
            Op::OpenReserve(slot, pages) => {
                if self.reserves[slot].is_some() {
                    return;
                }
                let reserve = self.pool.reserve(pages);
                assert_eq!(reserve.is_ok(), pages <= self.general_free);
                if let Ok(reserve) = reserve {
                    self.general_free -= pages;
                    self.serial += 1;
                    self.reserves[slot] = Some((reserve, self.serial, pages));
                }
            }
            Op::CloseReserve(slot) => {
                if let Some((reserve, _, free)) = self.reserves[slot].take() {
                    drop(reserve);
                    self.general_free += free;
                }
            }
            Op::Grow(slot, pages) => {
                let Some((reserve, _, free)) = &mut self.reserves[slot] else {
                    return;
                };
                assert_eq!(reserve.grow(pages).is_ok(), pages <= self.general_free);
                if pages <= self.general_free {
                    self.general_free -= pages;
                    *free += pages;
                }
            }
            Op::Shrink(slot, pages) => {
                let Some((reserve, _, free)) = &mut self.reserves[slot] else {
                    return;
                };
                let fits = pages <= *free;
                assert_eq!(reserve.shrink(pages).is_ok(), fits);
                if fits {
                    *free -= pages;
                    self.general_free += pages;
                }
            }
            // Several, so that long frames come up.
            Op::Push(slot, at, front) => (0..4).for_each(|_| self.push(slot, at, front)),
            Op::FrameAdvance(slot, count) => self.frame_advance(slot, count),
            Op::FrameTruncate(slot, len) => self.frame_truncate(slot, len),
            Op::FrameKeep(slot) => self.frame_keep(slot),
            Op::TakeApart(slot) => self.take_apart(slot),
            Op::DropFrame(slot) => self.drop_frame(slot),
            Op::SetScrub(scrub) => {
                self.scrub = scrub;
                self.pool.set_scrub(scrub);
            }
        }
    }
}
