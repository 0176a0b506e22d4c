# What people do with this repository, by name: `just lint`. Needs just (https://just.systems); each recipe is a command
# or two that work without it.

# Lists the recipes.
default:
    @just --list --unsorted

# Formatting, lints, documentation; licences and bans where cargo-deny is installed.
lint:
    cargo fmt --check
    cargo fmt --check --manifest-path fuzz/Cargo.toml
    cargo clippy --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --all-features
    if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; fi

# All tests, or one test program: `just test answers`. Those that need root or a missing program say SKIPPED.
test program='':
    cargo test --all-features {{ if program == '' { '' } else { '--test ' + program } }}

# Everything, after installing what is missing. As root on Debian.
test-root:
    tests/all --install

# The Debian package, the static program in an archive, and the image of contrib/docker: target/dist.
dist:
    packaging/dist

# One fuzz target for a while, 60 seconds unless told: `just fuzz query 600`. What it finds new goes to target/fuzz. The library
# has no unsafe code, so no sanitizer slows it; `just fuzz query 600 address` looks into its dependencies, too.
fuzz target seconds='60' sanitizer='none':
    mkdir -p target/fuzz/{{ target }}
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer {{ sanitizer }} {{ target }} target/fuzz/{{ target }} fuzz/corpus/{{ target }} -- \
        -max_total_time={{ seconds }} -detect_leaks=0 -entropic=0

# The instructions of one query, compared with those recorded; then a rough comparison with other servers.
bench:
    benches/instructions
    cargo bench --bench peers -- --quick

# The library's documentation, in the browser.
docs:
    cargo doc --no-deps --all-features --open
