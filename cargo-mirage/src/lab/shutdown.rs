//! How domains ended, from what xl writes into its logs, and from its list.

use core::fmt;

/// Shows, in dom0, the lines that [`parse`] reads, from all of xl's logs, those of earlier domains first. Then, as such
/// lines, the domains that have shut down and are still there: after `xl save -c` no xl waits for the domain's end any more.
pub(crate) const SCRIPT: &str = "cd /var/log/xen && for log in $(ls -tr xl-*.log* 2>/dev/null); do \
     grep -H -E 'has shut down, reason code|has been destroyed' $log; done; \
     xl list -v | while read -r name id _ _ state _ _ reason _; do case $state in \
     *s*) echo \"xl-$name.log:Domain $id has shut down, reason code $reason\";; esac; done";

/// Why a domain ended: `SHUTDOWN_*` of Xen's `public/sched.h`, or xl's `destroy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `SHUTDOWN_poweroff`.
    Poweroff,
    /// `SHUTDOWN_reboot`: xl starts it again.
    Reboot,
    /// `SHUTDOWN_suspend`: it was saved, or migrated.
    Suspend,
    /// `SHUTDOWN_crash`.
    Crash,
    /// Another of Xen's reasons.
    Other(u8),
    /// `xl destroy`.
    Destroyed,
}

impl Reason {
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Poweroff,
            1 => Self::Reboot,
            2 => Self::Suspend,
            3 => Self::Crash,
            other => Self::Other(other),
        }
    }

    /// Whether the guest does not run any more after it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Reboot | Self::Suspend)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poweroff => f.write_str("powered off"),
            Self::Reboot => f.write_str("rebooted"),
            Self::Suspend => f.write_str("suspended"),
            Self::Crash => f.write_str("crashed"),
            Self::Other(code) => write!(f, "shut down with reason {code}"),
            Self::Destroyed => f.write_str("destroyed"),
        }
    }
}

/// The end of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shutdown {
    /// Its number.
    pub(crate) domain: u32,
    /// Why.
    pub(crate) reason: Reason,
}

/// Reads lines such as `xl-dns.log:Domain 1 has shut down, reason code 3 0x3`, each with the domain's name.
pub(crate) fn parse(text: &str) -> Vec<(String, Shutdown)> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, Shutdown)> {
    let (file, said) = line.split_once(':')?;
    let (name, _) = file.strip_prefix("xl-")?.split_once(".log")?;
    // A migrated domain is renamed once it is there.
    let name = name.strip_suffix("--incoming").unwrap_or(name);
    let (domain, said) = said.strip_prefix("Domain ")?.split_once(' ')?;
    let reason = match said.strip_prefix("has shut down, reason code ") {
        Some(code) => Reason::from_code(code.split(' ').next()?.parse().ok()?),
        None if said.starts_with("has been destroyed") => Reason::Destroyed,
        None => return None,
    };
    let domain = domain.parse().ok()?;
    Some((name.to_owned(), Shutdown { domain, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xl_writes_is_read() {
        let text = "xl-dns.log.1:Domain 1 has shut down, reason code 2 0x2\n\
                    xl-dns--incoming.log:Domain 2 has shut down, reason code 3 0x3\n\
                    xl-web-2.log:Domain 7 has been destroyed.\n\
                    xl-web-2.log:Waiting for domain web-2 (domid 7) to die [pid 1]\n\
                    nonsense\n";
        let ends = parse(text);
        let expected = [
            ("dns", 1, Reason::Suspend),
            ("dns", 2, Reason::Crash),
            ("web-2", 7, Reason::Destroyed),
        ]
        .map(|(name, domain, reason)| (name.to_owned(), Shutdown { domain, reason }));
        assert_eq!(ends, expected);
    }

    #[test]
    fn one_that_was_saved_or_rebooted_has_not_ended() {
        assert!(!Reason::from_code(2).is_final() && !Reason::from_code(1).is_final());
        for code in [0, 3, 4, 9] {
            assert!(Reason::from_code(code).is_final());
        }
    }
}
