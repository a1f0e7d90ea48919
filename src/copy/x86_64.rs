//! Short copies in assembly.

/// Copies up to 128 bytes, in moves that the compiler cannot see into.
///
/// [`crate::copy`] explains its purpose. As in `memcpy`, two pieces overlap in the middle, so the
/// copy needs no loop and no branch for the last bytes. A push of 64 bytes took 123 instructions
/// with eight words in a loop. It takes 65 this way.
///
/// `$load` loads 16 bytes into a register.
macro_rules! copy_short {
    ($load:ident, $to:ident + $to_at:expr, $from:ident + $from_at:expr, $length:ident) => {
        match $length {
            65.. => {
                // This puts the shorter copies first in the code, with fewer jumps.
                unlikely();
                std::arch::asm!(
                    $load!("{a}", "{from} + {from_at}"),
                    $load!("{b}", "{from} + {from_at} + 16"),
                    $load!("{c}", "{from} + {from_at} + 32"),
                    $load!("{d}", "{from} + {from_at} + 48"),
                    $load!("{e}", "{from} + {from_at} + {length} - 64"),
                    $load!("{f}", "{from} + {from_at} + {length} - 48"),
                    $load!("{g}", "{from} + {from_at} + {length} - 32"),
                    $load!("{h}", "{from} + {from_at} + {length} - 16"),
                    "movdqu [{to} + {to_at}], {a}",
                    "movdqu [{to} + {to_at} + 16], {b}",
                    "movdqu [{to} + {to_at} + 32], {c}",
                    "movdqu [{to} + {to_at} + 48], {d}",
                    "movdqu [{to} + {to_at} + {length} - 64], {e}",
                    "movdqu [{to} + {to_at} + {length} - 48], {f}",
                    "movdqu [{to} + {to_at} + {length} - 32], {g}",
                    "movdqu [{to} + {to_at} + {length} - 16], {h}",
                    a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                    e = out(xmm_reg) _, f = out(xmm_reg) _, g = out(xmm_reg) _, h = out(xmm_reg) _,
                    from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                    options(nostack, preserves_flags),
                )
            }
            33.. => std::arch::asm!(
                $load!("{a}", "{from} + {from_at}"),
                $load!("{b}", "{from} + {from_at} + 16"),
                $load!("{c}", "{from} + {from_at} + {length} - 32"),
                $load!("{d}", "{from} + {from_at} + {length} - 16"),
                "movdqu [{to} + {to_at}], {a}",
                "movdqu [{to} + {to_at} + 16], {b}",
                "movdqu [{to} + {to_at} + {length} - 32], {c}",
                "movdqu [{to} + {to_at} + {length} - 16], {d}",
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            16.. => std::arch::asm!(
                $load!("{a}", "{from} + {from_at}"),
                $load!("{b}", "{from} + {from_at} + {length} - 16"),
                "movdqu [{to} + {to_at}], {a}",
                "movdqu [{to} + {to_at} + {length} - 16], {b}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            // It uses no other register, because the callers have few.
            8 => std::arch::asm!(
                "movq {a}, qword ptr [{from} + {from_at}]",
                "movq qword ptr [{to} + {to_at}], {a}",
                a = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at,
                options(nostack, preserves_flags),
            ),
            9.. => std::arch::asm!(
                "movq {a}, qword ptr [{from} + {from_at}]",
                "movq {b}, qword ptr [{from} + {from_at} + {length} - 8]",
                "movq qword ptr [{to} + {to_at}], {a}",
                "movq qword ptr [{to} + {to_at} + {length} - 8], {b}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            4.. => std::arch::asm!(
                "movd {a}, dword ptr [{from} + {from_at}]",
                "movd {b}, dword ptr [{from} + {from_at} + {length} - 4]",
                "movd dword ptr [{to} + {to_at}], {a}",
                "movd dword ptr [{to} + {to_at} + {length} - 4], {b}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            3 => std::arch::asm!(
                "movzx {length:e}, word ptr [{from} + {from_at}]",
                "mov word ptr [{to} + {to_at}], {length:x}",
                "movzx {length:e}, byte ptr [{from} + {from_at} + 2]",
                "mov byte ptr [{to} + {to_at} + 2], {length:l}",
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = inout(reg) $length => _,
                options(nostack, preserves_flags),
            ),
            2 => std::arch::asm!(
                "movzx {length:e}, word ptr [{from} + {from_at}]",
                "mov word ptr [{to} + {to_at}], {length:x}",
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = inout(reg) $length => _,
                options(nostack, preserves_flags),
            ),
            1 => std::arch::asm!(
                "movzx {length:e}, byte ptr [{from} + {from_at}]",
                "mov byte ptr [{to} + {to_at}], {length:l}",
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = inout(reg) $length => _,
                options(nostack, preserves_flags),
            ),
            0 => {}
        }
    };
}

macro_rules! whole {
    ($register:literal, $at:literal) => {
        concat!("movdqu ", $register, ", [", $at, "]")
    };
}

macro_rules! halves {
    ($register:literal, $at:literal) => {
        concat!(
            "movq ",
            $register,
            ", qword ptr [",
            $at,
            "]\n",
            "movhps ",
            $register,
            ", qword ptr [",
            $at,
            " + 8]"
        )
    };
}

/// Copies up to 128 bytes out of the ring, from `AT` bytes after `from`. See [`copy_short`]. The
/// offset is a part of each instruction, so it costs nothing.
///
/// # Safety
/// As [`opaque_copy`](super::opaque_copy).
#[inline(always)]
pub(crate) unsafe fn opaque_copy_out<const AT: usize>(to: *mut u8, from: *const u8, length: usize) {
    debug_assert!(length <= 128);
    // SAFETY: the caller's promise. Each move is inside both sides, and SSE2 is a part of x86-64.
    unsafe { copy_short!(whole, to + 0, from + AT, length) }
}

/// Copies up to 128 bytes into the ring, to `AT` bytes after `to`. See [`copy_short`].
///
/// The caller has often just written the message, by fields of 8 bytes. A load of 16 bytes that
/// needs a store of 8 bytes waits until that store is in the cache. It then also waits for all
/// stores before it, which are to lines that a consumer has. Loads of 8 bytes take the value from
/// the store itself. Streaming 64 bytes took 23 ns with loads of 16 bytes, and takes 16 ns with
/// loads of 8 (`docs/performance.md`).
///
/// # Safety
/// As [`opaque_copy`](super::opaque_copy).
#[inline(always)]
pub(crate) unsafe fn opaque_copy_in<const AT: usize>(to: *mut u8, from: *const u8, length: usize) {
    debug_assert!(length <= 128);
    // SAFETY: as `opaque_copy_out`.
    unsafe { copy_short!(halves, to + AT, from + 0, length) }
}

/// Tells the compiler that a branch that calls this is rare.
#[cold]
fn unlikely() {}
