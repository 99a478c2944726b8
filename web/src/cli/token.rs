//! `lastwords token`: who may do what, on the service's data folder, whether the service runs or not. What is done here
//! holds from the next request on.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use handover::NodeId;

use super::Data;
use crate::clock::now_us;
use crate::pages::words;
use crate::secrets;
use crate::store::token::{self, New};
use crate::store::{Store, rollup};
use crate::text::Text;

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, and write it to standard output. It is shown this once.
    Add(Add),
    /// All tokens there ever were.
    List(Data),
    /// End tokens, and the browser sessions that were opened with them.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    data: Data,
    /// What it is called: who holds it, or where.
    name: String,
    /// What it allows; may be given more than once.
    #[arg(long = "scope", value_enum, required = true)]
    scopes: Vec<Scope>,
    /// The only node that it speaks for: an id as the pages show it.
    #[arg(long)]
    node: Option<NodeId>,
    /// Days until it ends by itself.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    days: Option<u16>,
}

#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    data: Data,
    /// Their numbers, as `lastwords token list` shows them.
    #[arg(required = true)]
    ids: Vec<i64>,
}

/// What a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Scope {
    /// Hand over evidence, boots and readiness.
    Ingest,
    /// Hand over canaries, beside ingest.
    Canary,
    /// Read everything.
    Read,
    /// Put debug files in.
    Symbols,
    /// Decide about signatures.
    Admin,
}

impl Token {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Token::Add(add) => add.run().await,
            Token::List(data) => list(&data.data).await,
            Token::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl Add {
    async fn run(self) -> anyhow::Result<()> {
        let Add { data, name, mut scopes, node, days } = self;
        ensure!(!name.trim().is_empty(), "a token needs a name, by which it is known when it is to end");
        scopes.sort();
        scopes.dedup();
        let words: Vec<String> = scopes
            .iter()
            .filter_map(|scope| Some(scope.to_possible_value()?.get_name().to_owned()))
            .collect();
        let secret = secrets::token();
        let now = now_us();
        let new = New {
            secret: &secret,
            name: name.trim(),
            scopes: &words.join(" "),
            node: node.as_ref(),
            expires_us: days.map(|days| now + i64::from(days) * rollup::DAY_US),
        };
        let store = open(&data.data).await?;
        let mut transaction = store.write().await.context("making a token")?;
        token::insert(&mut transaction, &new, now).await.context("making a token")?;
        transaction.commit().await.context("making a token")?;
        store.close().await;
        // A token that nobody saw is of no use: whoever closes the pipe must know.
        writeln!(std::io::stdout(), "{secret}")
            .context("writing the token; end it with `lastwords token revoke`")
    }
}

async fn list(data: &Path) -> anyhow::Result<()> {
    let store = open(data).await?;
    let tokens = token::list(store.read()).await.context("listing tokens")?;
    let now = now_us();
    let rows = tokens.iter().map(|token| {
        let state = match (token.revoked_us, token.expires_us) {
            (Some(at), _) => format!("revoked {}", words::minute(at)),
            (None, Some(at)) if at <= now => format!("ended {}", words::minute(at)),
            (None, Some(at)) => format!("until {}", words::minute(at)),
            (None, None) => "holds".to_owned(),
        };
        let node = token.node_key.as_ref().map_or_else(|| "any".to_owned(), hex::encode);
        vec![
            token.id.to_string(),
            token.name.clone(),
            token.scopes.clone(),
            node,
            words::minute(token.created_us),
            state,
        ]
    });
    let mut text = Text::default();
    text.table(&[">id", "name", "scopes", "node", "made (UTC)", "state"], &rows.collect::<Vec<_>>());
    let _ = std::io::stdout().write_all(text.finish().as_bytes());
    store.close().await;
    Ok(())
}

impl Revoke {
    async fn run(self) -> anyhow::Result<()> {
        let Revoke { data, ids } = self;
        let store = open(&data.data).await?;
        let mut transaction = store.write().await.context("ending tokens")?;
        for id in ids {
            let held = token::revoke(&mut transaction, id, now_us()).await.context("ending tokens")?;
            ensure!(held, "no token {id} holds; nothing was ended");
        }
        transaction.commit().await.context("ending tokens")?;
        store.close().await;
        Ok(())
    }
}

async fn open(data: &Path) -> anyhow::Result<Store> {
    ensure!(data.join("custody.db").exists(), "there is no service in {}", data.display());
    let (store, custody) =
        Store::open(data).await.with_context(|| format!("opening the data folder {}", data.display()))?;
    custody.close().await;
    Ok(store)
}
