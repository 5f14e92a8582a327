//! Spans of tasks and operations: what lies in what, what is told, and when it ends.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use corio::net::{TcpListener, TcpStream};
use corio::task::Builder;
use corio::{spawn, yield_now};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Span, Subscriber, info, info_span};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// What was told of a span, and of the events in each.
#[derive(Default)]
struct Told {
    spans: HashMap<u64, Seen>,
    events: Vec<(String, Vec<u64>)>,
}

#[derive(Clone, Default, Debug)]
struct Seen {
    name: &'static str,
    fields: String,
    parent: Option<u64>,
    entered: usize,
    is_closed: bool,
}

#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Told>>);

impl Journal {
    /// Hears of all that happens on this thread until the guard is dropped.
    fn begin() -> (Journal, DefaultGuard) {
        let journal = Journal::default();
        let subscriber = Registry::default().with(journal.clone());
        (journal, tracing::subscriber::set_default(subscriber))
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut Seen)) {
        change(self.0.lock().unwrap().spans.entry(id.into_u64()).or_default());
    }

    fn all(&self, name: &str, field: &str) -> Vec<(u64, Seen)> {
        let told = self.0.lock().unwrap();
        let fits = |seen: &Seen| seen.name == name && seen.fields.contains(field);
        let mut found: Vec<_> = told
            .spans
            .iter()
            .filter(|(_, seen)| fits(seen))
            .map(|(id, it)| (*id, it.clone()))
            .collect();
        found.sort_by_key(|(id, _)| *id);
        found
    }

    #[track_caller]
    fn only(&self, name: &str, field: &str) -> (u64, Seen) {
        let mut found = self.all(name, field);
        assert_eq!(found.len(), 1, "{name} {field}: {found:?}");
        found.remove(0)
    }
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?};");
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent().map(|it| it.id().into_u64()));
        self.change(id, |seen| {
            *seen = Seen { name: attributes.metadata().name(), parent, ..Seen::default() };
            attributes.record(&mut Text(&mut seen.fields));
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.change(id, |seen| values.record(&mut Text(&mut seen.fields)));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        let scope = context.event_scope(event).into_iter().flatten();
        let within = scope.map(|span| span.id().into_u64()).collect();
        self.0.lock().unwrap().events.push((text, within));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.change(id, |seen| seen.entered += 1);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.change(&id, |seen| seen.is_closed = true);
    }
}

#[corio::test]
async fn a_task_lies_in_the_span_of_whoever_spawned_it() {
    let (journal, _guard) = Journal::begin();
    let request = info_span!("request");
    let outer = request.in_scope(|| {
        Builder::new().name("outer").spawn(async {
            Builder::new().name("inner").spawn(async {}).await.unwrap();
        })
    });
    outer.await.unwrap();
    let (request, _) = journal.only("request", "");
    let (outer, seen) = journal.only("task", "name=outer");
    assert_eq!(seen.parent, Some(request));
    assert_eq!(journal.only("task", "name=inner").1.parent, Some(outer));
}

/// Hazard: a span stays entered while its task waits, and takes in what others do meanwhile.
#[corio::test]
async fn what_one_task_does_is_not_told_of_another() {
    let (journal, _guard) = Journal::begin();
    let tasks: Vec<_> = ["one", "two"]
        .map(|name| {
            Builder::new().name(name).spawn(async move {
                for _ in 0..5 {
                    info!(name);
                    yield_now().await;
                }
            })
        })
        .into();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(Span::current().is_none(), "whoever waits is in no span");
    let told = journal.0.lock().unwrap();
    assert_eq!(told.events.len(), 10);
    for (text, within) in &told.events {
        let [task] = within[..] else { panic!("{text} lies in {within:?}") };
        let seen = &told.spans[&task];
        let name = if text.contains("one") { "name=one" } else { "name=two" };
        assert!(seen.fields.contains(name), "{text} is told of {seen:?}");
        assert!(seen.entered >= 6, "once for each poll: {seen:?}");
    }
}

#[corio::test]
async fn the_span_of_a_task_ends_with_it_though_its_handle_is_held() {
    let (journal, _guard) = Journal::begin();
    let handle = spawn(async {});
    assert!(!journal.only("task", "").1.is_closed);
    yield_now().await;
    yield_now().await;
    assert!(handle.is_finished());
    assert!(journal.only("task", "").1.is_closed);
    let aborted = spawn(std::future::pending::<()>());
    yield_now().await;
    aborted.abort();
    assert!(aborted.await.unwrap_err().is_cancelled());
    assert!(journal.all("task", "").iter().all(|(_, seen)| seen.is_closed));
}

#[corio::test]
async fn a_name_that_comes_late_is_told_as_well() {
    let (journal, _guard) = Journal::begin();
    let handle = spawn(async { yield_now().await });
    handle.set_name("from outside");
    handle.await.unwrap();
    assert!(journal.only("task", "").1.fields.contains("name=from outside"));
    spawn(async { corio::task::current().unwrap().set_name("by itself") }).await.unwrap();
    journal.only("task", "name=by itself");
}

#[corio::test]
async fn an_operation_lies_in_its_task_and_tells_its_result() {
    let (journal, _guard) = Journal::begin();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move { drop(TcpStream::connect(address).await.unwrap()) }).await.unwrap();
    listener.accept().await.unwrap();
    let (task, _) = journal.only("task", "");
    let (_, connect) = journal.only("operation", "op=Connect");
    assert_eq!(connect.parent, Some(task));
    assert!(connect.is_closed && connect.fields.contains("result=0"), "{connect:?}");
    let (_, accept) = journal.only("operation", "op=Accept");
    assert!(accept.parent.is_none(), "whoever accepts is in no span: {accept:?}");
}
