//! What the benches compare with: inflating alone.

use std::{hint::black_box, io::Read};

use flate2::{Decompress, FlushDecompress, Status};

/// Inflates and does nothing else, with the window size of a scan, which is the fastest.
#[expect(
    clippy::disallowed_methods,
    reason = "the reference for the project's own inflating"
)]
pub fn limit(mut source: impl Read, chunk: usize) -> u64 {
    let mut member = Decompress::new_gzip(15);
    let (mut window, mut filled) = (vec![0; 256 * 1024], 0);
    let mut chunk = vec![0; chunk];
    loop {
        let length = source.read(&mut chunk).unwrap();
        if length == 0 {
            return member.total_out();
        }
        let mut rest = &chunk[..length];
        loop {
            let (consumed, produced) = (member.total_in(), member.total_out());
            let status = member
                .decompress(rest, &mut window[filled..], FlushDecompress::None)
                .unwrap();
            rest = &rest[(member.total_in() - consumed) as usize..];
            filled += (member.total_out() - produced) as usize;
            let is_full = filled == window.len();
            if is_full {
                black_box(&window);
                filled = 0;
            }
            if status == Status::StreamEnd || (rest.is_empty() && !is_full) {
                break;
            }
        }
    }
}
