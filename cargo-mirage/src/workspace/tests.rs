use super::*;
use std::fs;

fn checkout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("Cargo.toml"),
        "[workspace]\nmembers = []\n",
    )
    .unwrap();
    for package in [
        "appliances/web",
        "appliances/dns",
        "appliances/dns/host",
        "benches/threads",
        "benches/common",
    ] {
        fs::create_dir_all(folder.path().join(package)).unwrap();
        fs::write(
            folder.path().join(package).join("Cargo.toml"),
            "[package]\nname = \"x\"\n",
        )
        .unwrap();
    }
    fs::create_dir_all(folder.path().join("appliances/notes")).unwrap();
    let program = folder.path().join("benches/threads/src/main.rs");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(program, "fn main() {}\n").unwrap();
    folder
}

#[test]
fn found_from_a_folder_below() {
    let folder = checkout();
    let below = folder.path().join("appliances/dns/host");
    let workspace = Workspace::find_above(&below).unwrap();
    assert_eq!(workspace.root(), folder.path().canonicalize().unwrap());
}

#[test]
fn a_package_is_not_a_checkout() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("Cargo.toml"),
        "[package]\nname = \"x\"\n",
    )
    .unwrap();
    fs::create_dir(folder.path().join("appliances")).unwrap();
    assert!(Workspace::checkout_at(folder.path()).is_none());
}

#[test]
fn lists_only_packages_in_order() {
    let folder = checkout();
    let workspace = Workspace::checkout_at(folder.path()).unwrap();
    assert_eq!(workspace.appliances(), ["dns", "web"]);
    assert_eq!(workspace.benches(), ["threads"]);
}

#[test]
fn a_name_is_never_a_path() {
    let folder = checkout();
    let workspace = Workspace::checkout_at(folder.path()).unwrap();
    for name in ["../benches/threads", "dns/host", "", ".", "/etc"] {
        assert!(
            matches!(workspace.host_main(name), Err(Error::Unknown { .. })),
            "{name}"
        );
        assert!(
            matches!(workspace.bench(name), Err(Error::Unknown { .. })),
            "{name}"
        );
    }
}

#[test]
fn an_appliance_without_host_main_is_said_to_have_none() {
    let folder = checkout();
    let workspace = Workspace::checkout_at(folder.path()).unwrap();
    assert!(workspace.host_main("dns").is_ok());
    assert!(matches!(
        workspace.host_main("web"),
        Err(Error::NoMain { .. })
    ));
    assert_eq!(workspace.host_mains().len(), 1);
}

#[test]
fn an_appliance_outside_a_checkout_is_found_from_below() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("hello");
    fs::create_dir_all(root.join("xen/src")).unwrap();
    fs::write(
        root.join("Cargo.toml"),
        "[workspace]\n\n[package]\nname = \"hello\"\n",
    )
    .unwrap();
    assert!(Workspace::find_above(&root).is_none());
    fs::write(
        root.join("xen/Cargo.toml"),
        "[package]\nname = \"hello-xen\"\n",
    )
    .unwrap();
    let workspace = Workspace::find_above(&root.join("xen/src")).unwrap();
    assert_eq!(workspace.root(), root.canonicalize().unwrap());
    assert_eq!(workspace.own_appliance(), Some("hello"));
    assert_eq!(workspace.appliances(), ["hello"]);
    assert!(workspace.xen_main("hello").is_ok());
    assert!(matches!(
        workspace.host_main("hello"),
        Err(Error::NoMain { .. })
    ));
    assert!(matches!(
        workspace.xen_main("dns"),
        Err(Error::Unknown { .. })
    ));
    assert!(workspace.must_be_checkout("bench").is_err());
}

#[test]
fn in_an_appliance_of_a_checkout_the_checkout_is_found() {
    let folder = checkout();
    for below in ["appliances/dns", "appliances/web", "benches/threads"] {
        let workspace = Workspace::find_above(&folder.path().join(below)).unwrap();
        assert_eq!(workspace.own_appliance(), None, "{below}");
        assert!(workspace.must_be_checkout("bench").is_ok());
    }
}

#[test]
fn only_the_packages_own_name_is_its_name() {
    let manifest =
        "[lib]\nname = \"l\"\n\n[package]\nversion = \"1\"\nname   = 'p'\n[[bin]]\nname = \"b\"\n";
    assert_eq!(package_name(manifest).as_deref(), Some("p"));
    assert_eq!(package_name("[package]\n[lib]\nname = \"l\"\n"), None);
    assert_eq!(package_name("[workspace]\n"), None);
}

#[test]
fn library_path_keeps_what_is_the_users() {
    let path =
        OsString::from("/a/target/debug/deps:/opt/lib:/r/toolchains/x/lib::/r/lib/rustlib/y/lib");
    assert_eq!(library_path_without_build(&path), Some("/opt/lib".into()));
    assert_eq!(library_path_without_build(&"/a/target/debug".into()), None);
}

#[test]
fn no_std_attribute_is_recognised() {
    assert!(is_no_std_attribute("#![no_std]"));
    assert!(is_no_std_attribute("#![cfg_attr(not(test), no_std)]"));
    assert!(!is_no_std_attribute("// #![no_std]"));
    assert!(!is_no_std_attribute("#![warn(missing_docs)]"));
}
