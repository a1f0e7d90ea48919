#![no_main]
//! See `ipcq_fuzz::open`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| ipcq_fuzz::open(input));
