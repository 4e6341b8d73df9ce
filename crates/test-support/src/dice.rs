//! Dice: random numbers from a seed (SplitMix64), so that a schedule that fails can be run again.

use std::ops::Range;

/// The seeds to run: `VARIABLE=7` selects one, `VARIABLE=0..5000` a range.
pub fn seeds(variable: &str, default: Range<u64>) -> Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "selects the seeds to run")]
    let Ok(text) = std::env::var(variable) else {
        return default;
    };
    let number = |text: &str| match text.parse::<u64>() {
        Ok(number) => number,
        Err(_) => panic!("expected {variable}=7 or {variable}=0..5000, found {text}"),
    };
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}

/// Throws the same numbers for the same seed.
pub struct Dice(pub u64);

impl Dice {
    /// A number from 0 to `sides - 1`.
    pub fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.throw(from.len() as u64)).expect("small")]
    }

    /// Puts items into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(
                at,
                usize::try_from(self.throw(at as u64 + 1)).expect("small"),
            );
        }
    }
}
