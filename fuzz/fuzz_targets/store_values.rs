#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callsign_fuzz::store_values::run(input));
