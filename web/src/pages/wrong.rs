//! The page that says what went wrong, in the form that was asked for.

use askama::Template;
use axum::response::{IntoResponse, Response};
use handover::problem::Problem;

use super::frame::Frame;
use super::{Asked, Form, filters};
use crate::problem::Error;
use crate::text::Text;

#[derive(Template)]
#[template(path = "wrong.html")]
struct Page<'a> {
    f: &'a Frame,
    status: u16,
    title: &'a str,
    detail: &'a str,
}

/// The error as a page. For programs the problem stays on the answer, for the layer that writes it.
pub(crate) fn answer(asked: Asked, error: Error) -> Response {
    let mut response = error.into_response();
    let Asked { form, mut frame } = asked;
    if form == Form::Json {
        return response;
    }
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    frame.forms = false;
    let status = response.status();
    let mut page = match form {
        Form::Text => {
            let mut text = Text::default();
            text.title(&format!("{} {}", problem.status, problem.title));
            text.prose(&problem.detail);
            text.finish().into_response()
        }
        _ => super::html(
            Page { f: &frame, status: problem.status, title: &problem.title, detail: &problem.detail }
                .render(),
        ),
    };
    *page.status_mut() = status;
    page
}
