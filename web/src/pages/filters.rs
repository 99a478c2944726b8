//! The filters of the templates: `{{ n|count }}`, `{{ at|ago(f.now_us) }}`. They only call `words`.

use std::fmt::Display;

use askama::filters::{Escaper, Safe};
use askama::{Result, Values, filter_fn};

use handover::NodeId;

use super::escape::Visible;
use super::words::{self, Time, Title};
use crate::store::signature::State;

/// A number however a template holds it: a method's answer is a value, a field a reference, a field of a row that
/// was taken apart a reference to one.
pub trait Number {
    /// The number.
    fn number(&self) -> i64;
}

impl Number for i64 {
    fn number(&self) -> i64 {
        *self
    }
}

impl<T: Number> Number for &T {
    fn number(&self) -> i64 {
        (**self).number()
    }
}

/// What is markup already: its own `Display` escaped everything that came from elsewhere. The escaper of
/// `askama.toml` knows no such thing, so that a template has to say `|markup`, and can say it of these only.
pub trait Markup: Display {}

impl<T: Markup> Markup for &T {}

/// Prints markup as it is.
#[filter_fn]
pub fn markup(markup: impl Markup, _: &dyn Values) -> Result<Safe<String>> {
    Ok(Safe(markup.to_string()))
}

/// `4,707`.
#[filter_fn]
pub fn count(n: impl Number, _: &dyn Values) -> Result<String> {
    Ok(words::count(n.number()))
}

/// `1 crash`, `12 crashes`.
#[filter_fn]
pub fn plural(n: impl Number, _: &dyn Values, one: &str, many: &str) -> Result<String> {
    Ok(words::plural(n.number(), one, many))
}

/// `29.8 KiB`.
#[filter_fn]
pub fn bytes(n: impl Number, _: &dyn Values) -> Result<String> {
    Ok(words::bytes(n.number()))
}

/// A `<time>` that says how long ago.
#[filter_fn]
pub fn ago(at_us: impl Number, _: &dyn Values, now_us: &i64) -> Result<Safe<Time>> {
    Ok(Safe(Time { at_us: at_us.number(), shown: words::since(at_us.number(), *now_us) }))
}

/// A `<time>` with the day.
#[filter_fn]
pub fn day(at_us: impl Number, _: &dyn Values) -> Result<Safe<Time>> {
    Ok(Safe(Time { at_us: at_us.number(), shown: words::day(at_us.number()) }))
}

/// A `<time>` with day and minute.
#[filter_fn]
pub fn minute(at_us: impl Number, _: &dyn Values) -> Result<Safe<Time>> {
    Ok(Safe(Time { at_us: at_us.number(), shown: words::minute(at_us.number()) }))
}

/// A `<time>` to the second.
#[filter_fn]
pub fn second(at_us: impl Number, _: &dyn Values) -> Result<Safe<Time>> {
    Ok(Safe(Time { at_us: at_us.number(), shown: words::second(at_us.number()) }))
}

/// A `<time>` with all of it.
#[filter_fn]
pub fn whole(at_us: impl Number, _: &dyn Values) -> Result<Safe<Time>> {
    Ok(Safe(Time { at_us: at_us.number(), shown: words::whole(at_us.number()) }))
}

/// A title with its function in `<code>`.
#[filter_fn]
pub fn titled(title: &str, _: &dyn Values) -> Result<Safe<String>> {
    Ok(Safe(Title::new(title).to_string()))
}

/// A long hexadecimal name, shortened.
#[filter_fn]
pub fn short(name: impl Display, _: &dyn Values) -> Result<String> {
    Ok(words::short(&name.to_string()))
}

/// A length of a picture in per cent of its width.
#[filter_fn]
pub fn percent(x: &f64, _: &dyn Values) -> Result<String> {
    Ok(format!("{x:.2}%"))
}

/// A length of a picture in pixels.
#[filter_fn]
pub fn px(y: &f64, _: &dyn Values) -> Result<String> {
    Ok(format!("{y:.1}"))
}

/// `22 Nov`, inside a picture, where no `<time>` may be.
#[filter_fn]
pub fn day_word(at_us: impl Number, _: &dyn Values) -> Result<String> {
    Ok(words::day(at_us.number()))
}

/// A state in a word: glyph first, colour last. `mute` has no glyph.
#[filter_fn]
pub fn badge(words: &str, _: &dyn Values, sign: &str) -> Result<Safe<String>> {
    Ok(Safe(badge_of(sign, words)?))
}

/// The state of triage of a signature.
#[filter_fn]
pub fn state(state: &State, _: &dyn Values) -> Result<Safe<String>> {
    let sign = match state {
        State::New => "news",
        State::Regressed => "bad",
        State::Resolved => "good",
        State::Acknowledged | State::Muted => "mute",
    };
    Ok(Safe(badge_of(sign, state.as_str())?))
}

fn badge_of(sign: &str, words: &str) -> Result<String> {
    let mut out = format!("<span class=\"badge {sign}\">");
    if sign != "mute" {
        out.push_str(&format!("<svg aria-hidden=\"true\"><use href=\"#g-{sign}\"/></svg>"));
    }
    Visible.write_escaped_str(&mut out, words)?;
    out.push_str("</span>");
    Ok(out)
}

/// A glyph alone, before its word.
#[filter_fn]
pub fn glyph(sign: &str, _: &dyn Values) -> Result<Safe<String>> {
    Ok(Safe(format!("<svg class=\"g {sign}\" aria-hidden=\"true\"><use href=\"#g-{sign}\"/></svg>")))
}

/// A node's id as a link that says its name.
#[filter_fn]
pub fn node(id: &NodeId, _: &dyn Values, name: &str) -> Result<Safe<String>> {
    let id = id.to_string();
    let mut out = format!("<a href=\"/nodes/{id}\"><bdi>");
    Visible.write_escaped_str(&mut out, super::node_name(name, &id))?;
    out.push_str("</bdi></a>");
    Ok(Safe(out))
}

/// What people call the node of an id.
#[filter_fn]
pub fn called(id: &NodeId, _: &dyn Values, name: &str) -> Result<String> {
    Ok(super::node_name(name, &id.to_string()).to_owned())
}

/// A title with its function in front, for a narrow column.
#[filter_fn]
pub fn function_first(title: &str, _: &dyn Values) -> Result<Safe<String>> {
    Ok(Safe(Title::new(title).function_first()))
}
