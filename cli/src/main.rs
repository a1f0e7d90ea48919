//! The `ipcq` command.

fn main() {
    for name in ipcq::list().unwrap_or_default() {
        println!("{}", name.display());
    }
}
