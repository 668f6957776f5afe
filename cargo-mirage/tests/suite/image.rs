//! `cargo mirage build` from outside, over a small appliance whose main brings its own link script.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_mirage::build_command::image::{Image, Report, strip};
use cargo_mirage::build_command::{self, Options, Seed, Target, Toolchain};
use cargo_mirage::workspace::Workspace;
use tempfile::TempDir;

/// The host's target, whatever else is installed: the results must not depend on that.
const TARGET: &[&str] = &["--target", "x86_64-unknown-linux-gnu"];

const LINK_SCRIPT: &str = r#"
ENTRY(start)
PHDRS {
  boot PT_LOAD FLAGS(5); text PT_LOAD FLAGS(5); rodata PT_LOAD FLAGS(4); data PT_LOAD FLAGS(6); note PT_NOTE FLAGS(4);
}
PROVIDE(MIRAGE_VIRTUAL_BASE = 0x10000000000);
OFFSET = MIRAGE_VIRTUAL_BASE - 0x101000;
SECTIONS {
  . = 0x100000;
  .boot : { KEEP(*(.boot)) } :boot
  .note.Xen : ALIGN(4) { KEEP(*(.note.Xen)) } :boot :note
  . = MIRAGE_VIRTUAL_BASE;
  .text : AT(ADDR(.text) - OFFSET) { *(.text .text.*) } :text
  . = ALIGN(4096);
  .rodata : AT(ADDR(.rodata) - OFFSET) { *(.rodata .rodata.*) } :rodata
  . = ALIGN(4096);
  .data : AT(ADDR(.data) - OFFSET) { *(.data .data.* .got .got.*) } :data
  .bss : AT(ADDR(.bss) - OFFSET) { *(.bss .bss.*) } :data
  /DISCARD/ : { *(.eh_frame* .comment .note.gnu* .gcc_except_table*) }
}
"#;

const MAIN: &str = r##"
#![no_std]
#![no_main]
use core::arch::{asm, global_asm};
use core::fmt::Write;

global_asm!(r#"
.section .note.Xen,"a",@note
.long 4, 4, 18
.asciz "Xen"
.long start
.section .boot,"ax"
.globl start
start:
movabs rax, offset {main}
jmp rax
.text
"#, main = sym main);

struct Port;

impl Write for Port {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            // SAFETY: QEMU's debug port takes any byte, and nothing else changes.
            unsafe { asm!("out 0xe9, al", in("al") byte) };
        }
        Ok(())
    }
}

static NAMES: [&str; 3] = ["one", "two", "three"];
#[used]
static TABLE: [u8; 1234] = [7; 1234];
static mut SPACE: [u8; 5000] = [0; 5000];

extern "C" fn main(n: usize) -> ! {
    let mut copy = [0_u8; 777];
    copy.copy_from_slice(&TABLE[n % 9..][..777]);
    // SAFETY: SPACE is larger, one thread runs, and nothing refers to it.
    unsafe { (&raw mut SPACE).cast::<[u8; 777]>().write_volatile(copy) };
    let _ = writeln!(Port, "{} {} {:?}", NAMES[n % 3], part::length(&copy), copy);
    panic!("the end")
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Port, "{info}");
    loop {}
}
"##;

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A checkout with an appliance that has a main for Xen, and one that has none.
struct Checkout {
    folder: TempDir,
}

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(&root.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\n");
        let package = |name: &str, more: &str| {
            format!(
                "[package]\nname = \"{name}\"\nedition = \"2024\"\ndescription = \"It is {name}\"\n{more}"
            )
        };
        write(
            &root.join("appliances/none/Cargo.toml"),
            &package("none", ""),
        );
        write(
            &root.join("appliances/small/Cargo.toml"),
            &package("small", ""),
        );
        write(
            &root.join("part/Cargo.toml"),
            &package("part", "[workspace]\n"),
        );
        write(
            &root.join("part/src/lib.rs"),
            "#![no_std]\n#[inline(never)]\npub fn length(bytes: &[u8]) -> usize {\n    assert!(bytes[0] != 1);\n    bytes.len()\n}\n",
        );
        let main = root.join("appliances/small/xen");
        write(
            &main.join("Cargo.toml"),
            &package(
                "small-xen",
                "[workspace]\n[dependencies]\npart = { path = \"../../../part\" }\n\
                 [profile.release]\nopt-level = \"s\"\nlto = \"fat\"\ncodegen-units = 1\n",
            ),
        );
        write(
            &main.join("build.rs"),
            "fn main() {\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
             std::fs::copy(\"link.ld\", format!(\"{out}/mirage-xen.ld\")).unwrap();\n    \
             println!(\"cargo::rustc-link-search={out}\");\n}\n",
        );
        write(&main.join("link.ld"), LINK_SCRIPT);
        write(&main.join("src/main.rs"), MAIN);
        Self { folder }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the link script; something must change.
    fn change_script(&self, from: &str, to: &str) {
        let changed = LINK_SCRIPT.replace(from, to);
        assert_ne!(changed, LINK_SCRIPT);
        write(&self.root().join("appliances/small/xen/link.ld"), &changed);
    }

    fn mirage(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-mirage"));
        command
            .arg("mirage")
            .args(arguments)
            .current_dir(self.root());
        for variable in [
            "CARGO_TARGET_DIR",
            "RUST_LOG",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
        ] {
            command.env_remove(variable);
        }
        command.output().unwrap()
    }

    /// Builds the small one, which must succeed; gives what was said and the shipped file.
    fn build(&self, more: &[&str]) -> (String, Vec<u8>) {
        let arguments = [&["build", "small"], TARGET, more].concat();
        let output = self.mirage(&arguments);
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{errors}");
        (
            text(&output.stdout) + &errors,
            fs::read(self.file("small.elf")).unwrap(),
        )
    }

    /// Builds the small one, which must fail; gives what was said of it.
    fn refused(&self) -> String {
        let output = self.mirage(&[&["build", "small"], TARGET].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert!(!self.file("small.elf").exists());
        text(&output.stderr)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root().join("target/appliances").join(name)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

#[test]
fn an_image_is_built_checked_counted_and_repeated() {
    let checkout = Checkout::new();
    let (said, first) = checkout.build(&["--seed", "c0ffee"]);
    let seed: Seed = "c0ffee".parse().unwrap();
    assert!(
        said.contains(&format!("{:#x}", seed.virtual_base()))
            && said.contains("--seed 0000000000c0ffee"),
        "{said}"
    );
    assert!(said.contains("Compiling part "), "{said}");

    // What is shipped keeps the rules, and holds neither symbols nor paths of this machine.
    let shipped = Image::parse(&first).unwrap();
    assert_eq!(shipped.check(seed.virtual_base()), Ok(()));
    assert!(shipped.symbols.is_empty() && shipped.sections.is_empty());
    assert!(
        contains(&first, "/mirage/part/src/lib.rs"),
        "a panic message has the path of a source"
    );
    for path in [
        checkout.root().to_str().unwrap(),
        env!("CARGO_MANIFEST_DIR"),
        "/.cargo/",
        ".rustup",
    ] {
        assert!(!contains(&first, path), "{path}");
    }

    // The file with symbols is the same image, and its bytes are told by crate.
    let debug = fs::read(checkout.file("small.debug")).unwrap();
    assert_eq!(strip(&debug).unwrap(), first);
    let whole = Image::parse(&debug).unwrap();
    assert!(
        whole
            .sections
            .iter()
            .any(|section| section.name == ".debug_line")
    );
    assert!(
        !whole
            .sections
            .iter()
            .any(|section| section.loaded && section.name.starts_with(".eh_frame"))
    );
    let report = Report::of(&whole, first.len() as u64);
    let row = |name: &str| report.crates.iter().find(|row| row.name == name);
    assert!(row("part").is_some_and(|row| row.text > 0), "{report}");
    assert!(row("core").is_some_and(|row| row.text > 0), "{report}");
    assert!(
        row("small_xen").is_some_and(|row| row.rodata >= 1234 && row.bss >= 5000),
        "{report}"
    );
    assert!(
        report
            .symbols
            .iter()
            .any(|symbol| symbol.name == "small_xen::TABLE" && symbol.bytes == 1234),
        "{report}"
    );
    assert!(
        said.contains("small_xen::TABLE") && said.contains(&first.len().to_string()),
        "{said}"
    );

    // The same seed gives the same bytes, from nothing too; another one others. Only the main is linked again.
    let (said, again) = checkout.build(&["--seed", "0xC0FFEE"]);
    assert!(again == first, "the same seed gave another image");
    assert!(!said.contains("Compiling part "), "{said}");
    let (said, other) = checkout.build(&["--seed", "1"]);
    assert!(other != first, "another seed gave the same image");
    assert!(
        !said.contains("Compiling part ") && said.contains("Compiling small-xen "),
        "{said}"
    );
    fs::remove_dir_all(checkout.root().join("target")).unwrap();
    assert!(
        checkout.build(&["--seed", "c0ffee"]).1 == first,
        "the same seed gave another image from nothing"
    );

    // Without a seed each build draws its own, and what was linked before does not pile up.
    let bases: Vec<u64> = (0..2)
        .map(|_| Image::parse(&checkout.build(&[]).1).unwrap().segments[1].virtual_address)
        .collect();
    assert_ne!(bases[0], bases[1]);
    let linked = fs::read_dir(
        checkout
            .root()
            .join("target/xen/x86_64-unknown-linux-gnu/release/deps"),
    )
    .unwrap();
    let linked = linked.filter(|entry| entry.as_ref().unwrap().path().extension().is_none());
    assert_eq!(linked.count(), 1);
}

#[test]
fn an_image_for_a_trial_keeps_its_base_and_is_linked_again_only_if_something_changed() {
    let checkout = Checkout::new();
    let workspace = Workspace::find(Some(checkout.root())).unwrap();
    let build = |again| {
        let options = Options {
            target: Some(Target::Host),
            again,
            ..Options::default()
        };
        let built = build_command::build(&workspace, "small", options).unwrap();
        let product = built.into_product().unwrap();
        let linked = workspace
            .target()
            .join("xen/x86_64-unknown-linux-gnu/release/small-xen");
        let linked = linked.metadata().unwrap().modified().unwrap();
        (product.seed, fs::read(product.elf).unwrap(), linked)
    };
    let first = build(true);
    assert!(build(true) == first, "nothing has changed");
    let main = MAIN.replace("\"two\"", "\"2\"");
    write(
        &checkout.root().join("appliances/small/xen/src/main.rs"),
        &main,
    );
    let changed = build(true);
    assert_eq!(changed.0, first.0);
    assert!(changed.1 != first.1, "the source has changed");
    assert_ne!(build(false).0, first.0);
}

#[test]
fn bare_metals_target_does_the_same_where_it_is_installed() {
    let toolchain = Toolchain::find(Path::new(".")).unwrap();
    if !toolchain.has(Target::None) {
        println!(
            "SKIPPED: bare_metals_target_does_the_same_where_it_is_installed: {} is not",
            Target::None.triple()
        );
        return;
    }
    let checkout = Checkout::new();
    // It is the first choice.
    let output = checkout.mirage(&["build", "small", "--seed", "c0ffee"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(Target::None.triple()), "{said}");
    let shipped = Image::parse(&fs::read(checkout.file("small.elf")).unwrap()).unwrap();
    let seed: Seed = "c0ffee".parse().unwrap();
    assert_eq!(shipped.check(seed.virtual_base()), Ok(()));
}

#[test]
fn an_image_that_breaks_a_rule_is_refused_and_the_segment_named() {
    let checkout = Checkout::new();
    checkout.change_script("data PT_LOAD FLAGS(6)", "data PT_LOAD FLAGS(7)");
    let said = checkout.refused();
    assert!(
        said.contains("segment 3 (rwx") && said.contains("is writable and executable"),
        "{said}"
    );
    assert!(said.contains("the project's"), "{said}");
    checkout.change_script("0x100000;\n  .boot", "0x200000;\n  .boot");
    assert!(checkout.refused().contains("does not begin at 0x100000"));
    checkout.change_script("= MIRAGE_VIRTUAL_BASE", "= 0x30000000000");
    assert!(
        checkout
            .refused()
            .contains("should have the virtual address")
    );
    checkout.change_script("FLAGS(5); rodata", "FLAGS(6); rodata");
    assert!(checkout.refused().contains("holds code: section .text"));
}

#[test]
fn what_does_not_build_ends_with_cargos_words_and_status() {
    let checkout = Checkout::new();
    write(
        &checkout.root().join("appliances/small/xen/src/main.rs"),
        "fn main() { nothing() }",
    );
    let output = checkout.mirage(&[&["build", "small"], TARGET].concat());
    assert_eq!(output.status.code(), Some(101));
    let said = text(&output.stderr);
    assert!(
        said.contains("cannot find function") && said.contains("does not build"),
        "{said}"
    );
}

#[test]
fn a_mistake_is_shown_where_it_is() {
    let checkout = Checkout::new();
    let source = checkout.root().join("part/src/lib.rs");
    write(
        &source,
        "#![no_std]\npub fn length(_: &[u8]) -> usize { nothing() }\n",
    );
    let output = checkout.mirage(&[&["build", "small"], TARGET].concat());
    let said = text(&output.stderr);
    let source = source.canonicalize().unwrap();
    assert!(said.contains(&format!("{}:2", source.display())), "{said}");
}

#[test]
fn names_are_checked_before_anything_is_built() {
    let checkout = Checkout::new();
    let output = checkout.mirage(&["build"]);
    assert!(output.status.success());
    let said = text(&output.stdout);
    assert!(
        said.contains("It is small") && !said.contains("It is none"),
        "{said}"
    );
    for (name, problem) in [
        ("none", "has no main for Xen"),
        ("smal", "there are: none, small"),
        ("../part", "no appliance"),
    ] {
        let output = checkout.mirage(&["build", "small", name]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(problem),
            "{}",
            text(&output.stderr)
        );
        assert!(!checkout.root().join("target").exists());
    }
}
