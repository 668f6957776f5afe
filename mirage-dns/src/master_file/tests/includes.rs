//! `$INCLUDE`: scopes, chains in errors, bounds, and the loaders.

use super::*;

/// Reads `text` with these files to include, the origin `o.` and the TTL 60 given.
fn include<const N: usize>(text: &str, files: [(&str, &str); N], limits: Limits) -> Vec<Outcome> {
    let files = files.map(|(name, text)| Source {
        name,
        text: text.as_bytes(),
    });
    let text = format!("$TTL 60\n{text}");
    read_with(text.as_bytes(), Some("o"), &files, limits)
}

fn ok(outcomes: Vec<Outcome>) -> Vec<String> {
    outcomes.into_iter().map(|o| o.expect("no error")).collect()
}

#[test]
fn include_restores_origin_and_owner() {
    let files = [
        ("a b", "x A 0.0.0.1\n$ORIGIN c.\nx A 0.0.0.2\n"),
        ("d", "x A 0.0.0.3"),
    ];
    assert_eq!(
        ok(include(
            "own A 0.0.0.0\n$INCLUDE \"a b\" sub ; comment\n A 0.0.0.9\ny A 0.0.0.8\n$INCLUDE d\n$INCLUDE a\\ b\nz A 0.0.0.7",
            files,
            Limits::default()
        )),
        [
            "own.o. 60 IN A 00000000",
            "x.sub.o. 60 IN A 00000001",
            "x.c. 60 IN A 00000002",
            "own.o. 60 IN A 00000009",
            "y.o. 60 IN A 00000008",
            "x.o. 60 IN A 00000003",
            "x.o. 60 IN A 00000001",
            "x.c. 60 IN A 00000002",
            "z.o. 60 IN A 00000007",
        ]
    );
}

#[test]
fn included_file_may_leave_out_the_owner_before_it() {
    // As BIND and NSD: name servers and addresses are often kept in files of their own.
    let files = [
        ("f", " A 0.0.0.1\n$INCLUDE g p.\nx A 0.0.0.3\n"),
        ("g", " A 0.0.0.2"),
    ];
    assert_eq!(
        ok(include(
            "own A 0.0.0.0\n$INCLUDE f q.\n A 0.0.0.4",
            files,
            Limits::default()
        )),
        [
            "own.o. 60 IN A 00000000",
            "own.o. 60 IN A 00000001",
            "own.o. 60 IN A 00000002",
            "x.q. 60 IN A 00000003",
            "own.o. 60 IN A 00000004",
        ]
    );
}

#[test]
fn included_file_hands_no_owner_back() {
    let outcomes = include(
        "$INCLUDE f\n A 0.0.0.2",
        [("f", " A 0.0.0.1\nx A 0.0.0.3\n")],
        Limits::default(),
    );
    assert!(
        outcomes[0]
            .as_ref()
            .unwrap_err()
            .starts_with("f:1:2: expected an owner name")
    );
    assert!(
        outcomes[0]
            .as_ref()
            .unwrap_err()
            .ends_with(", included from z:2")
    );
    assert!(outcomes[1].is_ok());
    assert!(
        outcomes[2]
            .as_ref()
            .unwrap_err()
            .starts_with("z:3:2: expected an owner name")
    );
}

#[test]
fn errors_in_included_files_name_the_chain() {
    let outcomes = include(
        "$INCLUDE f",
        [("f", "\n\n$INCLUDE g"), ("g", "x A 1.2.3.4\nx A 1")],
        Limits::default(),
    );
    assert_eq!(
        outcomes[1].as_ref().unwrap_err(),
        "g:2:5: expected an IPv4 address, found \"1\", included from f:3, included from z:2"
    );
}

#[test]
fn include_that_loops_is_refused() {
    let outcomes = include(
        "$INCLUDE f",
        [("f", "$INCLUDE g"), ("g", "$INCLUDE f")],
        Limits::default(),
    );
    assert_eq!(outcomes.len(), 1);
    let error = outcomes[0].as_ref().unwrap_err();
    assert!(
        error.starts_with("g:1:10: expected a file that isn't being read already"),
        "{error}"
    );
    assert!(include("$INCLUDE z", [("z", "")], Limits::default())[0].is_err());
}

#[test]
fn include_depth_and_number_are_bounded() {
    struct Endless;
    impl Loader for Endless {
        fn load<'s>(&'s self, includer: &str, _name: &str) -> Result<Source<'s>, LoadError> {
            let name = String::from(includer) + "x";
            Ok(Source {
                name: name.leak(),
                text: b"$INCLUDE a\n$INCLUDE b\n",
            })
        }
    }
    let limits = Limits {
        include_depth: 5,
        includes: 1_000,
        ..Limits::default()
    };
    let outcomes = read_with(b"$INCLUDE a", Some("o"), &Endless, limits);
    // A binary tree of five levels: all of its 16 leaves try twice.
    assert_eq!(outcomes.len(), 32);
    assert!(
        outcomes[0]
            .as_ref()
            .unwrap_err()
            .contains("expected no more files one inside another")
    );
    let limits = Limits {
        include_depth: usize::MAX,
        includes: 100,
        ..Limits::default()
    };
    let outcomes = read_with(b"$INCLUDE a", Some("o"), &Endless, limits);
    assert!(outcomes.iter().any(|o| {
        o.as_ref()
            .unwrap_err()
            .contains("expected no more $INCLUDEs")
    }));
    // Each file that was included holds two directives.
    assert_eq!(outcomes.len(), 2 * 100 + 1 - 100);
}

#[test]
fn faults_of_include_itself() {
    let first = |text: &str| {
        let mut all = include(text, [("f", "")], Limits::default());
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0).unwrap_err()
    };
    assert!(first("$INCLUDE").contains("expected the name of a file, found the end of the line"));
    assert!(first("$INCLUDE g").contains("expected the name of a file that exists, found \"g\""));
    assert!(first("$INCLUDE f a b").contains("expected the end of the entry, found \"b\""));
    assert!(first("$INCLUDE f a..").contains("expected a label"));
    assert!(first("$INCLUDE \\255").contains("expected the name of a file in UTF-8"));
    assert!(error("$INCLUDE f").contains("no files to include here"));
    let long = "x".repeat(1_025);
    assert!(first(&format!("$INCLUDE {long}")).contains("at most 1,024 octets"));
}

#[cfg(feature = "std")]
#[test]
fn files_are_relative_to_the_one_that_includes_them() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "main.zone",
        "$TTL 1\n$INCLUDE sub/a.zone a.\n$INCLUDE b.zone b.\n",
    );
    write("sub/a.zone", "$INCLUDE b.zone\n");
    write("sub/b.zone", "inner.a. TXT x\n");
    write("b.zone", "@ TXT y\n$INCLUDE none.zone\n$INCLUDE .\n");
    let loader = FileSystemLoader::new(1_000);
    let main = loader.open(&directory.path().join("main.zone")).unwrap();
    let mut parser = Parser::new(main, &loader);
    let mut buffer = [0; 100];
    let mut all = Vec::new();
    loop {
        match parser.next_record(&mut buffer) {
            Ok(Some(record)) => all.push(record.owner.to_string()),
            Ok(None) => break,
            Err(error) => all.push(error.expected.to_string()),
        }
    }
    assert_eq!(
        all,
        [
            "inner.a.",
            "b.",
            "the name of a file that exists",
            "the name of a file that can be read"
        ]
    );
    let names: Vec<_> = loader
        .paths()
        .map(|path| {
            path.strip_prefix(directory.path())
                .unwrap()
                .to_str()
                .unwrap()
                .to_string()
        })
        .collect();
    assert_eq!(names, ["main.zone", "sub/a.zone", "sub/b.zone", "b.zone"]);

    let small = FileSystemLoader::new(40);
    assert_eq!(
        small.open(&directory.path().join("main.zone")).unwrap_err(),
        LoadError::TooLarge
    );
    assert!(small.open(&directory.path().join("sub/b.zone")).is_ok());
    assert!(
        small.open(&directory.path().join("sub/b.zone")).is_ok(),
        "the bound counts each file once"
    );
}
