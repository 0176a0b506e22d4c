use callsign::source::config::Config;
#[test]
fn show() {
    for file in std::fs::read_dir("/tmp/cfgx").unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        match Config::parse(&text, "callsign.toml") {
            Ok(config) => println!("{config:#?}"),
            Err(error) => println!("{error}"),
        }
        println!("-----");
    }
}
