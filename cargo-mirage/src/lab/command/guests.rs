//! Which guests the command line asks for.

use std::path::PathBuf;

use super::wrong;
use crate::build_command;
use crate::cli::LabArguments;
use crate::error::Error;
use crate::lab::guest::Guest;
use crate::lab::network::Port;
use crate::workspace::Workspace;

/// What came of preparing the guests.
pub(super) enum Guests {
    /// They are there.
    Built(Vec<Guest>),
    /// One does not build; cargo has said why, and this was its status.
    Failed(u8),
}

/// The guests that the command line asks for; images that are named by an appliance's name are built.
pub(super) fn guests(workspace: &Workspace, arguments: &LabArguments) -> Result<Guests, Error> {
    let mut appliances: Vec<Appliance> = Vec::new();
    for word in &arguments.appliances {
        appliances.push(Appliance::parse(word)?);
    }
    if appliances.is_empty() {
        let own = workspace.own_appliance().ok_or_else(|| {
            wrong(format!(
                "which appliance? For example `cargo mirage lab dns`; there are: {}",
                workspace.appliances().join(", ")
            ))
        })?;
        appliances.push(Appliance::Name(own.to_owned()));
    }
    // All names are looked at before anything is built.
    let mut guests: Vec<Guest> = Vec::new();
    for appliance in &appliances {
        let mut guest = match appliance {
            Appliance::Name(name) => {
                workspace.xen_main(name)?;
                let mut guest = Guest::new(name, PathBuf::new())?;
                guest.ports = ports(workspace, name)?;
                guest
            }
            Appliance::Image(name, image) if image.is_file() => Guest::new(name, image.clone())?,
            Appliance::Image(_, image) => {
                return Err(wrong(format!("there is no file {}", image.display())));
            }
        };
        if guests.iter().any(|other| other.name == guest.name) {
            return Err(wrong(format!("two appliances are called `{}`", guest.name)));
        }
        if !arguments.no_seed {
            guest.seed = Some(seed()?);
        }
        guests.push(guest);
    }
    settings(&mut guests, arguments)?;
    for (appliance, guest) in appliances.iter().zip(&mut guests) {
        if let Appliance::Name(name) = appliance {
            match build_command::build(workspace, name, build_command::Options::default())? {
                build_command::Built::Image(product) => guest.image = product.elf,
                build_command::Built::Failed(status) => {
                    eprintln!("error: the image of `{name}` does not build; cargo says why above");
                    return Ok(Guests::Failed(status));
                }
            }
        }
    }
    Ok(Guests::Built(guests))
}

/// The ports that an appliance's library says it serves: `ports` of `[package.metadata.mirage]`.
fn ports(workspace: &Workspace, name: &str) -> Result<Vec<Port>, Error> {
    let manifest = workspace.appliance_folder(name)?.join("Cargo.toml");
    let package = workspace.package(&manifest)?;
    let problem = |problem: String| Error::Content {
        path: manifest.clone(),
        problem: format!("[package.metadata.mirage] ports: {problem}"),
    };
    let Some(list) = package.metadata.pointer("/mirage/ports") else {
        return Ok(Vec::new());
    };
    let list = list
        .as_array()
        .ok_or_else(|| problem("not a list".into()))?;
    list.iter()
        .map(|port| port.as_str().unwrap_or_default().parse().map_err(problem))
        .collect()
}

/// Memory and command lines.
fn settings(guests: &mut [Guest], arguments: &LabArguments) -> Result<(), Error> {
    // What is said of all comes before what is said of one.
    let (of_one, of_all): (Vec<&String>, Vec<&String>) =
        arguments.memory.iter().partition(|word| word.contains('='));
    for word in of_all.into_iter().chain(of_one) {
        let (name, size) = match word.split_once('=') {
            Some((name, size)) => (Some(name), size),
            None => (None, word.as_str()),
        };
        let size: u32 = size
            .parse()
            .ok()
            .filter(|size| (1..=65_536).contains(size))
            .ok_or_else(|| {
                wrong(format!(
                    "--memory {word}: `{size}` is not a number of MiB from 1 to 65536"
                ))
            })?;
        for guest in chosen(guests, name, "--memory", word)? {
            guest.memory = size;
        }
    }
    for word in &arguments.ip {
        let name = match word.split_once('=') {
            Some((name, "dhcp")) => Some(name),
            None if word == "dhcp" => None,
            _ => return Err(wrong(format!("--ip {word}: not dhcp or NAME=dhcp"))),
        };
        for guest in chosen(guests, name, "--ip", word)? {
            guest.dhcp = true;
        }
    }
    for word in &arguments.port {
        let (name, port) = word
            .split_once('=')
            .ok_or_else(|| wrong(format!("--port {word}: not NAME=PORT")))?;
        let port: Port = port
            .parse()
            .map_err(|problem| wrong(format!("--port {word}: {problem}")))?;
        for guest in chosen(guests, Some(name), "--port", word)? {
            if !guest.ports.contains(&port) {
                guest.ports.push(port);
            }
        }
    }
    for word in &arguments.append {
        let (name, words) = word
            .split_once('=')
            .filter(|(name, _)| !name.contains(' '))
            .ok_or_else(|| wrong(format!("--append {word}: not NAME=WORDS")))?;
        for guest in chosen(guests, Some(name), "--append", word)? {
            if !guest.append.is_empty() {
                guest.append.push(' ');
            }
            guest.append.push_str(words);
        }
    }
    Ok(())
}

/// The guest of that name, or all.
fn chosen<'a>(
    guests: &'a mut [Guest],
    name: Option<&str>,
    option: &str,
    word: &str,
) -> Result<Vec<&'a mut Guest>, Error> {
    let chosen: Vec<&mut Guest> = guests
        .iter_mut()
        .filter(|guest| name.is_none_or(|name| guest.name == name))
        .collect();
    if chosen.is_empty() {
        return Err(wrong(format!(
            "{option} {word}: no appliance of this lab has that name"
        )));
    }
    Ok(chosen)
}

/// An appliance as the command line names it.
#[derive(Debug, PartialEq, Eq)]
enum Appliance {
    /// One of the checkout, to be built.
    Name(String),
    /// An image that is there, and the guest's name.
    Image(String, PathBuf),
}

impl Appliance {
    /// `NAME`, `NAME=FILE`, or a path to an image, whose name is then the guest's.
    fn parse(word: &str) -> Result<Self, Error> {
        if let Some((name, file)) = word.split_once('=') {
            return Ok(Self::Image(name.to_owned(), PathBuf::from(file)));
        }
        let path = PathBuf::from(word);
        if path.extension().is_none_or(|extension| extension != "elf") && !word.contains('/') {
            return Ok(Self::Name(word.to_owned()));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.to_ascii_lowercase().replace(['_', '.'], "-");
        Ok(Self::Image(name, path))
    }
}

/// 32 random bytes in hexadecimal.
fn seed() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::Unsupported {
        reason: format!("no random numbers: {error}"),
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn arguments(words: &[&str]) -> LabArguments {
        let words = ["cargo-mirage", "lab"].iter().chain(words);
        match crate::cli::Arguments::try_parse_from(words)
            .unwrap()
            .command
        {
            crate::cli::Command::Lab(lab) => lab,
            _ => panic!("not a lab"),
        }
    }

    fn two() -> Vec<Guest> {
        ["dns", "web"]
            .map(|name| Guest::new(name, PathBuf::new()).unwrap())
            .into()
    }

    #[test]
    fn names_and_images_are_told_apart() {
        let image = |name: &str, path: &str| Appliance::Image(name.into(), path.into());
        for (word, expected) in [
            ("dns", Appliance::Name("dns".into())),
            ("dns=some/file", image("dns", "some/file")),
            (
                "some/My_Guest.v2.elf",
                image("my-guest-v2", "some/My_Guest.v2.elf"),
            ),
            ("x.elf", image("x", "x.elf")),
            ("./x", image("x", "./x")),
        ] {
            assert_eq!(Appliance::parse(word).unwrap(), expected, "{word}");
        }
    }

    #[test]
    fn what_is_said_of_one_goes_before_what_is_said_of_all() {
        let mut guests = two();
        let words = [
            "dns",
            "--memory",
            "web=4",
            "--memory",
            "32",
            "--append",
            "dns=log=debug x",
            "--append",
            "dns=y",
        ];
        settings(&mut guests, &arguments(&words)).unwrap();
        assert_eq!((guests[0].memory, guests[1].memory), (32, 4));
        assert_eq!(guests[0].append, "log=debug x y");
        assert_eq!(guests[1].append, "");
    }

    #[test]
    fn addresses_come_by_dhcp_for_all_or_for_one() {
        for (word, expected) in [("dhcp", [true, true]), ("web=dhcp", [false, true])] {
            let mut guests = two();
            settings(&mut guests, &arguments(&["dns", "--ip", word])).unwrap();
            assert_eq!([guests[0].dhcp, guests[1].dhcp], expected, "{word}");
        }
        for word in ["10.0.0.2/24", "web=10.0.0.2/24", "other=dhcp", "web", ""] {
            let wrong = settings(&mut two(), &arguments(&["dns", "--ip", word]));
            assert!(wrong.is_err(), "{word}");
        }
    }

    #[test]
    fn a_port_is_there_once() {
        let mut guests = two();
        let words = [
            "dns",
            "--port",
            "dns=udp/53",
            "--port",
            "dns=udp/53",
            "--port",
            "dns=tcp/53",
        ];
        settings(&mut guests, &arguments(&words)).unwrap();
        assert_eq!(guests[0].ports.len(), 2);
        assert!(guests[1].ports.is_empty());
    }

    #[test]
    fn a_seed_is_32_bytes_and_another_each_time() {
        let (one, two) = (seed().unwrap(), seed().unwrap());
        assert!(one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, two);
    }
}
