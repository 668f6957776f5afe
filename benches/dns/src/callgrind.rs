//! Instructions an answer, which no other load on the machine changes: counted by valgrind's callgrind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use mirage_dns::server::MemoSlot;

use bench_common::report::Error;

use crate::pass;
use crate::questions::Questions;
use crate::systems::{MEMO_SLOTS, Mirage, MirageMemo, System};

/// How many questions are counted at the most: callgrind is fifty times slower than the processor.
const MOST: usize = 20_000;

/// Answers all questions once more than once, where only the last time is counted.
#[derive(Args)]
pub(crate) struct Count {
    /// With a memo before it.
    #[arg(long)]
    memo: bool,
    /// A compiled image.
    image: PathBuf,
    /// Questions, each with its length before it.
    questions: PathBuf,
}

impl Count {
    pub(crate) fn run(&self) -> Result<(), Error> {
        let image = fs::read(&self.image)?;
        let asked = read(&self.questions)?;
        if self.memo {
            let mut slots = vec![MemoSlot::EMPTY; MEMO_SLOTS];
            let mut system = MirageMemo::new(&image, &mut slots)?;
            pass(&mut system, &asked);
            counted(|| pass(&mut system, &asked));
        } else {
            let mut system = Mirage::new(&image)?;
            counted(|| pass(&mut system, &asked));
        }
        Ok(())
    }
}

/// What callgrind counts: what is called from here.
#[inline(never)]
fn counted(run: impl FnOnce()) {
    run();
}

/// Instructions an answer, by this program as a child of valgrind.
pub(crate) fn count(system: System, image: &[u8], asked: &Questions) -> Result<f64, Error> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("image"), image)?;
    write(&at("questions"), asked)?;
    let count = asked.len().min(MOST);
    let mut command = Command::new("valgrind");
    command
        .args([
            "--tool=callgrind",
            "--toggle-collect=bench_dns::callgrind::counted*",
        ])
        .arg(format!("--callgrind-out-file={}", at("out").display()))
        .arg(std::env::current_exe()?)
        .arg("count");
    if system == System::MirageMemo {
        command.arg("--memo");
    }
    command.arg(at("image")).arg(at("questions"));
    let output = command.output().map_err(|error| {
        format!("valgrind can't be run ({error}): install it (Debian: apt-get install valgrind), or give --no-callgrind")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok());
    match collected {
        Some(instructions) if output.status.success() && instructions > 0.0 => {
            Ok(instructions / count as f64)
        }
        _ => Err(format!("valgrind counted nothing: {said}").into()),
    }
}

fn write(path: &Path, questions: &Questions) -> Result<(), Error> {
    let mut octets = Vec::new();
    for question in questions.iter().take(MOST) {
        octets.extend(u16::try_from(question.len())?.to_be_bytes());
        octets.extend_from_slice(question);
    }
    Ok(fs::write(path, octets)?)
}

fn read(path: &Path) -> Result<Questions, Error> {
    let octets = fs::read(path)?;
    let mut questions = Questions::new();
    let mut rest = &octets[..];
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (question, after) = after.split_at_checked(length).ok_or("cut short")?;
        questions.push(question)?;
        rest = after;
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions");
        let mut questions = Questions::new();
        let written = [&[1, 2, 3][..], &[], &[7; 300]];
        for question in written {
            questions.push(question).unwrap();
        }
        write(&path, &questions).unwrap();
        assert!(read(&path).unwrap().iter().eq(written));
        fs::write(&path, [0, 9, 1]).unwrap();
        assert!(read(&path).is_err());
    }
}
