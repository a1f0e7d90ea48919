//! Generates the C header in `OUT_DIR` and sets the soname of the shared library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src/ffi");
    #[cfg(feature = "capi")]
    capi::build();
}

#[cfg(feature = "capi")]
mod capi {
    use std::{env, fs, path::Path};

    /// The text of the header. `@file@` stands for the items of `src/ffi/file.rs`.
    const TEMPLATE: &str = "src/ffi/ipcq.h.in";
    /// A declaration of a function that is longer is wrapped.
    const LINE: usize = 100;

    pub fn build() {
        let var = |name: &str| env::var(name).expect("set by cargo");
        // The tests pass it to `cc`, which finds the compiler.
        println!("cargo:rustc-env=IPCQ_TARGET={}", var("TARGET"));
        let [major, minor, patch] =
            ["MAJOR", "MINOR", "PATCH"].map(|part| var(&format!("CARGO_PKG_VERSION_{part}")));
        // The ABI is stable within a minor version while the major version is 0.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libipcq.so.{major}.{minor}");
        // `dlclose` must not unload the library: its thread, its fork handlers and its destructors
        // of thread-local values may run later.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

        let template = fs::read_to_string(TEMPLATE).expect("the template is readable");
        let template = template
            .replace("@MAJOR@", &major)
            .replace("@MINOR@", &minor)
            .replace("@PATCH@", &patch);
        let path = Path::new(&var("OUT_DIR")).join("ipcq.h");
        fs::write(path, header(&template)).expect("OUT_DIR is writable");
    }

    fn header(template: &str) -> String {
        let place = |line: &str| Some(line.strip_prefix('@')?.strip_suffix('@')?.to_owned());
        let files: Vec<File> = template.lines().filter_map(place).map(File::read).collect();
        let mut header = Header {
            types: files.iter().flat_map(File::types).collect(),
            declared: Vec::new(),
            text: String::new(),
        };
        for line in template.lines() {
            match place(line).and_then(|name| files.iter().find(|file| file.name == name)) {
                Some(file) => header.put_file(file),
                None => header.text = header.text + line + "\n",
            }
        }
        header.text
    }

    /// One file of `src/ffi`.
    struct File {
        name: String,
        /// The public items, in source order.
        items: Vec<Item>,
        /// The same items in C, each with its comment.
        blocks: Vec<String>,
    }

    enum Item {
        /// Name and value.
        Constant(String, String),
        Type(String),
        Function(String),
        /// A blank line, which ends a group of constants.
        Blank,
    }

    impl File {
        fn read(name: String) -> File {
            let path = format!("src/ffi/{name}.rs");
            let source = fs::read_to_string(&path).expect("the template names files of src/ffi");
            let items: Vec<Item> = source.lines().filter_map(Item::of).collect();
            let config = cbindgen::Config::from_file("cbindgen.toml");
            let mut config = config.expect("cbindgen.toml is valid");
            config.export.include = types(&items).collect();
            let builder = cbindgen::Builder::new().with_config(config).with_src(path);
            let mut c = Vec::new();
            let bindings = builder.generate();
            bindings.expect("C can express src/ffi").write(&mut c);
            let c = String::from_utf8(c).expect("the sources are UTF-8");
            let blocks = c.split("\n\n").map(|block| block.trim().to_owned());
            File {
                name,
                items,
                blocks: blocks.collect(),
            }
        }

        fn types(&self) -> impl Iterator<Item = String> + '_ {
            types(&self.items)
        }

        /// The block whose code, without its comment, contains one of these texts.
        fn block(&self, texts: &[String]) -> &str {
            let code = |block: &str| code(block).collect::<String>();
            let is_it = |block: &&String| texts.iter().any(|text| code(block).contains(text));
            let block = self.blocks.iter().find(is_it);
            block.unwrap_or_else(|| panic!("cbindgen did not write {}", texts[0]))
        }
    }

    fn types(items: &[Item]) -> impl Iterator<Item = String> + '_ {
        items.iter().filter_map(|item| match item {
            Item::Type(name) => Some(name.clone()),
            _ => None,
        })
    }

    /// The lines that are not comments.
    fn code(block: &str) -> impl Iterator<Item = &str> {
        let lines = block.lines();
        lines.filter(|line| !line.trim_start().starts_with("//"))
    }

    impl Item {
        /// The item that begins on this line of Rust.
        fn of(line: &str) -> Option<Item> {
            if let Some(rest) = line.strip_prefix("pub const IPCQ_") {
                let (name, value) = rest.split_once(':')?;
                let value = value.split_once("= ")?.1.trim_end_matches(';');
                return Some(Item::Constant(format!("IPCQ_{name}"), value.to_owned()));
            }
            if line.is_empty() {
                return Some(Item::Blank);
            }
            let name = |rest: &str| rest.split(['(', ' ', '{']).next().map(str::to_owned);
            if line.starts_with("pub struct ipcq_") {
                return name(&line["pub struct ".len()..]).map(Item::Type);
            }
            let (before, rest) = line.split_once("extern \"C\" fn ")?;
            if !before.starts_with("pub") {
                return None;
            }
            name(rest).map(Item::Function)
        }
    }

    struct Header {
        /// All types that the header defines.
        types: Vec<String>,
        /// The types that the text has declared so far.
        declared: Vec<String>,
        text: String,
    }

    impl Header {
        fn put_file(&mut self, file: &File) {
            for item in &file.items {
                match item {
                    Item::Constant(name, value) => {
                        if !self.text.ends_with(",\n") {
                            self.separate();
                            self.text += "enum {\n";
                        }
                        self.put_constant(name, value, file.block(&[format!("#define {name} ")]));
                    }
                    Item::Type(name) => {
                        let ends = [format!("}} {name};"), format!("typedef struct {name} ")];
                        self.put_type(name, file.block(&ends));
                    }
                    Item::Function(name) => {
                        self.put_function(file.block(&[format!(" {name}("), format!("*{name}(")]));
                    }
                    Item::Blank if self.text.ends_with(",\n") => self.text += "};\n",
                    Item::Blank => {}
                }
            }
        }

        /// Starts an item after a blank line.
        fn separate(&mut self) {
            if !self.text.ends_with("\n\n") {
                self.text.push('\n');
            }
        }

        /// Writes an enumerator, because a macro would be lost after the preprocessor.
        fn put_constant(&mut self, name: &str, value: &str, block: &str) {
            for comment in block.lines().filter(|line| line.starts_with("//")) {
                self.text += &format!("  {comment}\n");
            }
            self.text += &format!("  {name} = {value},\n");
        }

        fn put_type(&mut self, name: &str, block: &str) {
            let forward = self.declared.iter().any(|declared| declared == name);
            self.declared.push(name.to_owned());
            self.declare_types_of(block);
            self.separate();
            for line in block.lines() {
                if line.starts_with("  // --") && !self.text.ends_with("{\n") {
                    self.text.push('\n'); // A group of members begins.
                }
                self.text += match line.strip_prefix("typedef ") {
                    Some(line) if forward => line,
                    _ if forward && line.starts_with('}') => "};",
                    _ => line,
                };
                self.text.push('\n');
            }
            if block.contains("\n  uint32_t struct_size;\n") {
                self.put_initialiser(name, block);
            }
        }

        /// Writes a macro with the size and a zero for each other member.
        fn put_initialiser(&mut self, name: &str, block: &str) {
            let members = code(block).filter(|line| line.starts_with("  ")).skip(1);
            let zeroes = members.map(|line| if line.contains('[') { ",{0}" } else { ",0" });
            self.text += &format!(
                "\n#define {}_INIT {{sizeof({name}){}}}\n",
                name.to_uppercase(),
                zeroes.collect::<String>()
            );
        }

        fn put_function(&mut self, block: &str) {
            self.declare_types_of(block);
            self.separate();
            for line in block.lines() {
                let line = line.replace("struct ipcq_", "ipcq_");
                self.put_wrapped(&line.replace("IPCQ_API IPCQ_CHECKED", "IPCQ_CHECKED"));
            }
        }

        /// Declares the types that the block uses and the header defines later.
        fn declare_types_of(&mut self, block: &str) {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            for word in code(block).flat_map(|line| line.split(|c| !is_name(c))) {
                let is_type = self.types.iter().any(|name| name == word);
                if is_type && !self.declared.iter().any(|name| name == word) {
                    self.separate();
                    self.text += &format!("typedef struct {word} {word};\n");
                    self.declared.push(word.to_owned());
                }
            }
        }

        fn put_wrapped(&mut self, line: &str) {
            let mut rest = line;
            let mut indent = "";
            while indent.len() + rest.len() > LINE && !rest.starts_with("//") {
                let comma = rest[..LINE - indent.len()].rfind(", ");
                let (head, tail) = rest.split_at(comma.expect("a parameter list") + 1);
                self.text += &format!("{indent}{head}\n");
                (rest, indent) = (tail.trim_start(), "    ");
            }
            self.text += &format!("{indent}{rest}\n");
        }
    }
}
