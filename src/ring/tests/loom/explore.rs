//! The exploration of a model, and of its mutations.

use super::promises::{Broken, Checked, Violation};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Whether to explore the forms that take minutes, too.
pub(super) fn full() -> bool {
    std::env::var_os("IPCQ_MODEL").is_some_and(|value| value == "full")
}

/// Tries every execution with up to this many preemptions.
pub(super) fn executions(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        body();
    });
    println!("{} executions", runs.load(Ordering::Relaxed));
}

/// Tries every execution. None of them may break a promise. No preemptions are enough: see above.
pub(super) fn explore<T>(body: impl Fn() -> Checked<T> + Send + Sync + 'static) {
    explore_up_to(0, body);
}

/// As [`explore`], with up to this many preemptions, for models in which both sides look at the
/// stores of the other.
pub(super) fn explore_up_to<T>(
    preemptions: usize,
    body: impl Fn() -> Checked<T> + Send + Sync + 'static,
) {
    executions(preemptions, move || {
        if let Err(Broken(violation, what)) = body() {
            panic!("{violation:?}: {what}");
        }
    });
}

/// All possible observations with up to this many preemptions.
pub(super) fn observed<T: Ord + Send + 'static>(
    preemptions: usize,
    body: impl Fn() -> Checked<T> + Send + Sync + 'static,
) -> BTreeSet<T> {
    let all = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = all.clone();
    executions(preemptions, move || {
        let one = body().unwrap_or_else(|broken| panic!("{broken:?}"));
        seen.lock().unwrap().insert(one);
    });
    let mut all = all.lock().unwrap();
    std::mem::take(&mut all)
}

/// Checks that preemptions add no observation, as the argument above says.
pub(super) fn preemptions_add_nothing<T: Ord + std::fmt::Debug + Send + 'static>(
    body: fn() -> Checked<T>,
) {
    let without = observed(0, body);
    assert!(without.len() > 1, "{without:?}");
    assert_eq!(without, observed(if full() { 2 } else { 1 }, body));
}

/// The panic of a mutation test that has found the violation begins with this.
pub(super) const FOUND: &str = "violation found: ";

/// Tries executions until one breaks this promise, and fails if none does. Violations of other
/// promises do not count.
pub(super) fn violates<T>(
    violation: Violation,
    body: impl Fn() -> Checked<T> + Send + Sync + 'static,
) {
    violates_within(0, violation, body);
}

/// As [`violates`], with up to this many preemptions.
pub(super) fn violates_within<T>(
    preemptions: usize,
    violation: Violation,
    body: impl Fn() -> Checked<T> + Send + Sync + 'static,
) {
    let explored = std::panic::AssertUnwindSafe(|| {
        executions(preemptions, move || match body() {
            Err(Broken(found, what)) if found == violation => panic!("{FOUND}{what}"),
            _ => {}
        })
    });
    let Err(panic) = std::panic::catch_unwind(explored) else {
        panic!("the model does not notice the mutation");
    };
    let said = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(said.starts_with(FOUND), "no broken promise: {said}");
}

/// Mutation tests: `model` of `setting` without a site or step breaks a promise.
macro_rules! mutations {
    ($($name:ident: $model:ident::<$ring:ident>, $setting:expr, $kind:ident::$what:ident => $violation:ident;)+) => {
        $(
            #[test]
            fn $name() {
                const S: $crate::ring::tests::loom::Setting = $setting.without(Mutation::$kind($kind::$what));
                $crate::ring::tests::loom::violates(Violation::$violation, || $model::<$ring>(&S));
            }
        )+
    };
}
pub(super) use mutations;
