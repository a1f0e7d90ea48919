#![no_main]
//! See `ipcq_fuzz::read_variable`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| ipcq_fuzz::read_variable(input));
