//! Any table, after any history: the fast and the general path give the same verdict and octets. See `fuzz/src/table.rs`,
//! which makes tables, changes and queries of octets.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::table::Program;

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_table_is_answered_soundly_and_alike_on_both_paths(
        program in vec(any::<u8>(), 0..4000).prop_map(|octets| Program::of(&octets))
    ) {
        program.run();
    }
}
