//! The time that each case takes. `cargo bench -p hubplane-guard`; without `--bench`, as by `cargo test`, each runs once.

use criterion::{Criterion, Throughput};
use hubplane_guard::CASES;

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    for case in CASES {
        // The part before the slash is the group, in which results can be compared.
        let (group, name) = case.name.split_once('/').unwrap_or(("", case.name));
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(case.elements));
        // Outside of the closure, which is called several times for one case.
        let mut run = None;
        group.bench_function(name, |bencher| {
            // Prepared once, and only where it is asked for.
            let run = run.get_or_insert_with(case.prepare);
            bencher.iter(run);
        });
        group.finish();
    }
    criterion.final_summary();
}
