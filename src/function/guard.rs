//! Panics, kept to what they are about. The core is pure, so nothing outlives a panic in it but the values
//! it was given, which are thrown away.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use cloudhsm_alerts_core::text::one_line;

/// What the work gives, or what its panic said. The panic itself is on standard error by then, with its
/// place in the code.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| said(panic.as_ref()))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)");
    one_line(text, 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        assert_eq!(guarded(|| 7), Ok(7));
        let place = 3;
        assert_eq!(
            guarded(|| -> u8 { panic!("no place {place}") }),
            Err("no place 3".into())
        );
        assert_eq!(guarded(|| -> u8 { panic!("none") }), Err("none".into()));
    }
}
