//! What is asked: names and types of the example zone, in the form that dnsperf reads.

/// One query a line: name and type. Each kind of answer is among them: records, several of them, an alias, a delegation, a
/// wildcard, a name that there is not, and a type that there is not.
pub const EXAMPLE_ORG: &str = "\
example.org SOA
example.org NS
example.org MX
example.org A
example.org AAAA
example.org TXT
www.example.org A
www.example.org AAAA
web.example.org A
mail.example.org A
backup.mail.example.org A
ns1.example.org A
_imaps._tcp.example.org SRV
_submission._tcp.example.org SRV
anything.dyn.example.org A
fixed.dyn.example.org A
host.lab.example.org A
no-such-name.example.org A
www.example.org MX
ns2.example.org AAAA
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_name_in_the_zone_and_a_type() {
        for line in EXAMPLE_ORG.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, kind] = words[..] else {
                panic!("{line}");
            };
            assert!(name.ends_with("example.org"), "{line}");
            assert!(kind.chars().all(|c| c.is_ascii_uppercase()), "{line}");
        }
    }
}
