//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::build_command::{Seed, Target};
use crate::lab::network::Subnet;

/// What the whole command line says.
#[derive(Debug, Parser)]
#[command(
    name = "cargo mirage",
    bin_name = "cargo mirage",
    version,
    about = "Run, test and measure appliances of the Mirage library operating system",
    propagate_version = true
)]
pub struct Arguments {
    /// The checkout to work in, instead of the one around the current folder.
    #[arg(long, global = true, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Say what is done in detail (RUST_LOG says it more finely).
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an appliance of your own: a service, a main for this host, one for Xen, a test.
    New(NewArguments),
    /// Build an appliance for this host and run it.
    Run(RunArguments),
    /// Build an appliance's image for Xen, check it, and say what its bytes are.
    Build(BuildArguments),
    /// Run appliances on a real Xen, in a machine that QEMU emulates.
    Lab(LabArguments),
    /// Run every check of the repository.
    Test(TestArguments),
    /// Run benchmarks beside their peers; results are JSON and SVG.
    Bench(BenchArguments),
}

/// `cargo mirage new`.
#[derive(Debug, Args)]
pub struct NewArguments {
    /// What it is called, as a crate is; the folder is made in the current one. With --source, what it depends on are paths
    /// into that checkout.
    pub name: String,
}

/// `cargo mirage run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The appliance, for example `dns`; without one, those there are are listed.
    pub appliance: Option<String>,
    /// What the appliance is given: `--zone my.zone`, `--net tap=mirage0 --ip 10.0.0.2/24`, `--help` …
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub arguments: Vec<OsString>,
}

/// `cargo mirage build`.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// The appliances, for example `dns`; without one, the appliance around the current folder, or in a checkout a list.
    pub names: Vec<String>,
    /// Link at the virtual base of an earlier build, which printed this, instead of one drawn at random.
    #[arg(long, value_name = "HEX")]
    pub seed: Option<Seed>,
    /// The compiler's target, instead of x86_64-unknown-none where it is installed and else the host's.
    #[arg(long, value_enum)]
    pub target: Option<Target>,
}

/// `cargo mirage lab`.
#[derive(Debug, Args)]
pub struct LabArguments {
    /// The appliances: names, or images as `NAME=FILE.elf` or `FILE.elf`. Without one, the appliance in the current
    /// folder.
    #[arg(value_name = "APPLIANCE")]
    pub appliances: Vec<String>,
    /// Run this shell command on the host once the appliances are ready, then end; its status is ours. It finds the
    /// address of `dns` in DNS_IP, and so on.
    #[arg(long, value_name = "COMMAND", conflicts_with = "dom0")]
    pub exec: Option<String>,
    /// Run this shell command in the dom0 of the lab that runs already (the one in MIRAGE_LAB, or this folder's); its
    /// status is ours, and our input its own if it is no terminal.
    #[arg(long, value_name = "COMMAND", conflicts_with = "appliances")]
    pub dom0: Option<String>,
    /// The memory of the appliances in MiB, or `NAME=MIB` of one [default: 64]
    #[arg(long, value_name = "MIB")]
    pub memory: Vec<String>,
    /// How the appliances get their addresses, or `NAME=dhcp` of one: the lab's DHCP server gives it, instead of the command line
    #[arg(long, value_name = "dhcp")]
    pub ip: Vec<String>,
    /// Further words for the command line of an appliance.
    #[arg(long, value_name = "NAME=WORDS")]
    pub append: Vec<String>,
    /// A port that an appliance serves, for example `web=tcp/80`; those that its manifest names are known. Without root
    /// it is reached on 127.0.0.1 at WEB_PORT_TCP_80.
    #[arg(long, value_name = "NAME=PORT")]
    pub port: Vec<String>,
    /// Show what the appliances say on their consoles.
    #[arg(long)]
    pub console: bool,
    /// Don't wait for appliances to say `mirage: ready` before the command runs.
    #[arg(long)]
    pub no_wait: bool,
    /// How long an appliance may take until it is ready, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub ready_within: u64,
    /// Take Debian's packages from this folder of `.deb` files instead of fetching them.
    #[arg(long, value_name = "DIR")]
    pub packages: Option<PathBuf>,
    /// List the packages that a lab is made of (with what they depend on), and end.
    #[arg(long)]
    pub list_packages: bool,
    /// Fetch the newest packages even if there are some.
    #[arg(long)]
    pub refresh: bool,
    /// Start Xen and dom0 from power-on, not from the state that an earlier lab has saved.
    #[arg(long)]
    pub cold: bool,
    /// The lab's network [default: the first of 10.98.0.0/24, 10.98.1.0/24 … that is free]
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<Subnet>,
    /// Forward ports through QEMU's user network even with root.
    #[arg(long)]
    pub user_network: bool,
    /// Features for the emulated processor, for example `+rdrand,+rdseed`.
    #[arg(
        long,
        value_name = "FEATURES",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub cpu_features: String,
    /// Give the appliances no random seed.
    #[arg(long)]
    pub no_seed: bool,
    /// The memory of the whole emulated machine, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub machine_memory: u32,
}

/// `cargo mirage test`.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// Leave out what takes minutes: sanitizers, model checking, and most of the fuzzing time.
    #[arg(long)]
    pub quick: bool,
    /// Run only this step (may be given more than once).
    #[arg(long, value_name = "STEP")]
    pub only: Vec<String>,
    /// List the steps and run none.
    #[arg(long)]
    pub list: bool,
    /// Fetch the programs that tests need from Debian even if they are installed.
    #[arg(long)]
    pub fetch: bool,
    /// How long to fuzz in all, in seconds (240; with --quick 20).
    #[arg(long, value_name = "SECONDS")]
    pub fuzz_seconds: Option<u64>,
}

/// `cargo mirage bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    /// The benchmarks, for example `threads`; without one, those there are are listed.
    pub names: Vec<String>,
    /// A small run that shows that it works, without optimisation; its figures mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// Where to write the results, instead of `benches/NAME/results`.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// What each benchmark is given besides; its `--help` says what there is.
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<OsString>,
}

/// Takes out the word `mirage` that cargo passes to an external subcommand: `cargo mirage run` calls
/// `cargo-mirage mirage run`.
///
/// The alias in the repository does not pass it. No subcommand of ours has that name.
pub fn without_subcommand_name(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == "mirage") {
        arguments.remove(1);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = line.split_whitespace().map(OsString::from);
        Arguments::try_parse_from(without_subcommand_name(words))
    }

    #[test]
    fn definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn cargo_passes_its_subcommand_and_the_alias_does_not() {
        for line in ["cargo-mirage mirage run dns", "cargo-mirage run dns"] {
            let Command::Run(run) = parse(line).unwrap().command else {
                panic!("{line}: not a run");
            };
            assert_eq!(run.appliance.as_deref(), Some("dns"));
        }
    }

    #[test]
    fn only_one_word_is_taken_out() {
        let words = ["cargo-mirage", "mirage", "mirage"].map(OsString::from);
        assert_eq!(without_subcommand_name(words), ["cargo-mirage", "mirage"]);
    }

    #[test]
    fn the_appliance_gets_its_options_untouched() {
        let line =
            "cargo-mirage mirage run dns --net tap=mirage0 --ip 10.0.0.2/24 --help -v --source x";
        let arguments = parse(line).unwrap();
        assert_eq!(arguments.source, None);
        let Command::Run(run) = arguments.command else {
            panic!("not a run");
        };
        assert_eq!(
            run.arguments,
            [
                "--net",
                "tap=mirage0",
                "--ip",
                "10.0.0.2/24",
                "--help",
                "-v",
                "--source",
                "x"
            ]
        );
    }

    #[test]
    fn a_seed_is_hexadecimal_and_a_target_is_one_of_two() {
        let line = "cargo-mirage mirage build dns web --seed 1f --target x86_64-unknown-none";
        let Command::Build(build) = parse(line).unwrap().command else {
            panic!("not a build");
        };
        assert_eq!(build.names, ["dns", "web"]);
        assert_eq!(build.seed, "1f".parse().ok());
        assert_eq!(build.target, Some(Target::None));
        assert!(parse("cargo-mirage build dns --seed tomorrow").is_err());
        assert!(parse("cargo-mirage build dns --target i686-unknown-none").is_err());
    }

    #[test]
    fn our_options_come_before_the_appliance() {
        let arguments = parse("cargo-mirage mirage run --source elsewhere dns --zone z").unwrap();
        assert_eq!(arguments.source, Some(PathBuf::from("elsewhere")));
    }

    #[test]
    fn a_benchmark_gets_what_follows_two_dashes() {
        let Command::Bench(bench) = parse("cargo-mirage mirage bench threads --quick -- --sizes 1")
            .unwrap()
            .command
        else {
            panic!("not a benchmark");
        };
        assert_eq!(
            (bench.names, bench.quick),
            (vec!["threads".to_owned()], true)
        );
        assert_eq!(bench.arguments, ["--sizes", "1"]);
    }

    #[test]
    fn a_lab_takes_appliances_and_a_command() {
        let words = [
            "cargo-mirage",
            "mirage",
            "lab",
            "dns",
            "x=y.elf",
            "--memory",
            "dns=4",
            "--memory",
            "32",
            "--exec",
        ];
        let words = words
            .into_iter()
            .chain(["dig @$DNS_IP", "--cpu-features", "+rdrand"]);
        let arguments =
            Arguments::try_parse_from(without_subcommand_name(words.map(OsString::from)));
        let Command::Lab(lab) = arguments.unwrap().command else {
            panic!("not a lab");
        };
        assert_eq!(lab.appliances, ["dns", "x=y.elf"]);
        assert_eq!(lab.memory, ["dns=4", "32"]);
        assert_eq!(lab.exec.as_deref(), Some("dig @$DNS_IP"));
        assert_eq!(lab.cpu_features, "+rdrand");
        // A command in a lab that runs starts none.
        assert!(parse("cargo-mirage lab dns --dom0 true").is_err());
        assert!(parse("cargo-mirage lab --exec true --dom0 true").is_err());
        assert!(parse("cargo-mirage lab dns --network 8.8.8.0/24").is_err());
    }

    #[test]
    fn unknown_options_of_ours_are_refused() {
        assert!(parse("cargo-mirage mirage test --qick").is_err());
        assert!(parse("cargo-mirage mirage fly").is_err());
        assert!(parse("cargo-mirage mirage").is_err());
    }
}
