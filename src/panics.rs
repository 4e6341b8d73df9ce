//! Panics in the core, turned into errors. The core has no global state, so after a panic only the values that the
//! work had can be inconsistent. Callers do not continue with them: at most they read the counts of a scan.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use cloudhsm_alerts_core::text::one_line;

/// The result of the work, or the message of its panic. The panic itself has been printed on standard error, with
/// its place in the code.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
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
    fn a_panic_becomes_its_message() {
        assert_eq!(catch(|| 7), Ok(7));
        let place = 3;
        assert_eq!(
            catch(|| -> u8 { panic!("no place {place}") }),
            Err("no place 3".into())
        );
        assert_eq!(catch(|| -> u8 { panic!("none") }), Err("none".into()));
    }
}
