#![no_main]
//! See `ipcq_fuzz::registry`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| ipcq_fuzz::registry(input));
