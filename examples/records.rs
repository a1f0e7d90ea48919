//! A queue that stores the layout of its messages, and rejects a consumer that expects another one.
//!
//! ```sh
//! cargo run --example records
//! ```

use ipcq::{Chars, Consumer, Error, Producer};

const NAME: &str = "example.quotes";

ipcq::record! {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    struct Quote {
        time_ns: u64,
        bid_ask: [f64; 2],
        symbol: Chars<8>,
    }
}

mod wrong {
    ipcq::record! {
        #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct Quote {
            time_ns: u64,
            bid_ask: [f32; 4],
            symbol: ipcq::Chars<8>,
        }
    }
}

fn main() -> ipcq::Result<()> {
    let mut out = Producer::options().record::<Quote>().open(NAME)?;
    out.push_value(&Quote {
        time_ns: 1_700_000_000_000_000_000,
        bid_ask: [9.5, 9.625],
        symbol: Chars::new("ACME"),
    })?;

    let mut q = Consumer::options().record::<Quote>().open(NAME)?;
    let quote = q.recv::<Quote>()?;
    let [bid, ask] = quote.bid_ask;
    let symbol = quote.symbol.to_str().unwrap_or("?");
    println!("{symbol} at {}: {bid} {ask}", quote.time_ns);
    if let Some(schema) = q.schema() {
        println!("{schema}");
    }

    match Consumer::options().record::<wrong::Quote>().open(NAME) {
        Err(Error::SchemaMismatch(difference)) => println!("{difference}"),
        other => println!("not the expected error: {other:?}"),
    }
    ipcq::unlink(NAME)
}
