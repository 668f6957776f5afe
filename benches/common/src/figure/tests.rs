use super::*;

#[test]
fn numbers_have_three_digits_that_mean_something() {
    for (value, text) in [
        (0.0, "0"),
        (0.00123, "0.0012"),
        (0.0444, "0.044"),
        (2.347, "2.35"),
        (37.04, "37.0"),
        (449.0, "449"),
        (4.0, "4"),
        (14_321.9, "14,322"),
        (1_234_567.0, "1,234,567"),
        (-2_500.0, "-2,500"),
    ] {
        assert_eq!(number(value), text);
    }
    assert_eq!(
        [0, 66, 999, 1000, 65_906_612].map(whole),
        ["0", "66", "999", "1,000", "65,906,612"]
    );
    assert_eq!(
        [0.1, 2.0, 10.0, 1000.0].map(tick_label),
        ["0.1", "2", "10", "1,000"]
    );
}

fn panel(logarithmic: bool, values: &[f64]) -> Panel {
    Panel {
        logarithmic,
        bars: values
            .iter()
            .map(|value| Bar::published("x", *value, ""))
            .collect(),
        ..Panel::default()
    }
}

#[test]
fn every_value_and_goal_is_on_the_axis() {
    for logarithmic in [false, true] {
        for values in [&[3.0, 40_000.0][..], &[0.002], &[0.0, 5.0], &[], &[0.0]] {
            let mut panel = panel(logarithmic, values);
            panel.goal = Some((2.0, String::new()));
            let range = panel.range();
            assert!(range.0 < range.1 && range.1.is_finite());
            let goal = panel.place(range, 2.0);
            assert!((LEFT..=LEFT + SPAN).contains(&goal));
            for pair in values.windows(2).filter(|pair| pair[0] < pair[1]) {
                assert!(panel.place(range, pair[0]) < panel.place(range, pair[1]));
            }
            let ticks = panel.ticks(range);
            assert!((2..=12).contains(&ticks.len()), "{values:?}: {ticks:?}");
        }
    }
}

#[test]
fn a_logarithmic_axis_shows_the_shortest_bar() {
    let panel = panel(true, &[10.0, 20_000.0]);
    let range = panel.range();
    assert!(panel.place(range, 10.0) > LEFT + 10);
}

#[test]
fn a_legend_never_leaves_the_figure() {
    let legend = vec![("a name of some length".to_owned(), OURS); 12];
    let lines = lines_of_legend(&legend);
    assert_eq!(lines.iter().map(Vec::len).sum::<usize>(), legend.len());
    for line in lines {
        let width: i32 = line.iter().map(|(name, _)| legend_width(name)).sum();
        assert!(width <= WIDTH - 2 * MARGIN);
    }
}

#[test]
fn a_figure_holds_its_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.svg");
    let value = Spread::of([1.0, 2.5, 4.2]);
    let figure = Figure {
        title: "Title".into(),
        notes: vec!["A note <with> signs".into()],
        legend: vec![("ours".into(), OURS)],
        panels: vec![Panel {
            title: "Panel".into(),
            unit: "us".into(),
            logarithmic: true,
            bars: vec![
                Bar::measured("a", value.unwrap(), OURS),
                Bar::published("b", 37.0, "published"),
                Bar::without("c", "not possible"),
            ],
            goal: Some((3.0, "goal: 3 us".into())),
        }],
    };
    figure.draw(&path).unwrap();
    let svg = std::fs::read_to_string(&path).unwrap();
    for text in [
        "Title",
        "&lt;with&gt;",
        "2.50 (1 to 4.20)",
        "37 (published)",
        "goal: 3 us",
        "not possible",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}
