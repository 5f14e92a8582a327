//! `#[corio::main]` and `#[corio::test]`: an `async fn` inside an ordinary one.
//!
//! The user's function is kept whole, as an inner `async fn` of the same name, and the outer
//! function hands it to `corio::__private`. Keeping it whole, instead of moving its block into
//! an `async` block, keeps the compiler's messages: a `?` or a wrong tail expression is judged
//! against the return type that the user wrote, at the place where it was written. Lint
//! attributes on the outer function reach the inner one because it lies inside.
//!
//! When something is wrong, the expansion is the error and an empty function of the same name,
//! so that the compiler does not add that it found no `main`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, LitInt, LitStr, Path, Result, Safety, Token};

/// The drivers that every `#[corio::test]` runs on: as the attribute and a test's name say it, and
/// as `corio::Driver` does.
const DRIVERS: &[(&str, &str)] = &[("uring", "Uring"), ("epoll", "Epoll")];

/// Which of the two attributes is being expanded.
#[derive(Clone, Copy, PartialEq)]
enum Entry {
    Main,
    Test,
}

impl Entry {
    fn attribute(self) -> &'static str {
        match self {
            Entry::Main => "#[corio::main]",
            Entry::Test => "#[corio::test]",
        }
    }
}

pub(crate) fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Entry::Main, arguments, item)
}

pub(crate) fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Entry::Test, arguments, item)
}

fn expand(entry: Entry, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let attribute = entry.attribute();
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        let message = format!("`{attribute}` goes on an `async fn`");
        let error = Error::new(Span::call_site(), message).into_compile_error();
        return quote!(#error #item);
    };
    let parser = |input: ParseStream<'_>| Arguments::parse(entry, input);
    let arguments = parser.parse2(arguments);
    let checked = check_function(entry, &function);
    match (arguments, checked) {
        (Ok(arguments), Ok(())) => match entry {
            Entry::Main => expand_main(&arguments, &function),
            Entry::Test => expand_test(&arguments, &function),
        },
        (Err(error), Ok(())) | (Ok(_), Err(error)) => expand_error(&error, &function),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            expand_error(&error, &function)
        }
    }
}

fn expand_main(arguments: &Arguments, function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let (name, output, runtime) = (&sig.ident, &sig.output, &arguments.runtime);
    let configure = match arguments.busy_poll {
        None => quote!(|builder| builder),
        Some(BusyPoll::Adaptive) => {
            quote!(|builder| builder.busy_poll(#runtime::__private::BUSY_POLL_ADAPTIVE))
        }
        Some(BusyPoll::Off) => quote!(|builder| builder.busy_poll(#runtime::BusyPoll::Off)),
    };
    let start = match &arguments.cores {
        None => quote!(#runtime::__private::main(#configure, #name())),
        Some(Cores::All) => quote!(#runtime::__private::main_on(None, #configure, #name)),
        Some(Cores::Count(count)) => {
            quote!(#runtime::__private::main_on(Some(#count), #configure, #name))
        }
    };
    quote! {
        #(#attrs)*
        #vis fn #name() #output {
            #sig #block
            #start
        }
    }
}

/// One test for each driver. A function that is not `async` builds its runtimes itself, and they
/// get the driver all the same.
fn expand_test(arguments: &Arguments, function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let (body, output, runtime) = (&sig.ident, &sig.output, &arguments.runtime);
    let runner = match sig.asyncness {
        Some(_) => quote!(test),
        None => quote!(test_on),
    };
    let is_wanted = |name: &str| arguments.driver.as_deref().is_none_or(|only| only == name);
    let drivers = DRIVERS.iter().filter(|(name, _)| is_wanted(name));
    let tests = drivers.map(|(suffix, driver)| {
        let name = format_ident!("{body}_{suffix}");
        let driver = Ident::new(driver, Span::call_site());
        // The full path, because a user may have imported `corio::test` under the name `test`.
        quote! {
            #[::core::prelude::v1::test]
            #(#attrs)*
            #vis fn #name() #output {
                #sig #block
                #runtime::__private::#runner(#runtime::Driver::#driver, #body)
            }
        }
    });
    quote!(#(#tests)*)
}

fn expand_error(error: &Error, function: &ItemFn) -> TokenStream {
    let error = error.to_compile_error();
    let name = &function.sig.ident;
    quote!(#error fn #name() {})
}

fn check_function(entry: Entry, function: &ItemFn) -> Result<()> {
    let attribute = entry.attribute();
    let signature = &function.sig;
    let fail = |span, message| Err(Error::new(span, message));
    if entry == Entry::Main && signature.asyncness.is_none() {
        let message =
            format!("`{attribute}` needs an `async fn`: write `async fn {}()`", signature.ident);
        return fail(signature.fn_token.span, message);
    }
    if !signature.inputs.is_empty() || signature.variadic.is_some() {
        let message = match entry {
            Entry::Main => format!(
                "`{attribute}` takes an `async fn` without arguments: read those of the program \
                 with `std::env::args()`"
            ),
            Entry::Test => format!("`{attribute}` takes a function without arguments"),
        };
        return fail(signature.inputs.span(), message);
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() || generics.where_clause.is_some() {
        let message = format!("`{attribute}` takes an `async fn` that is not generic");
        return fail(generics.span(), message);
    }
    if !matches!(signature.safety, Safety::Default) || signature.abi.is_some() {
        let message =
            format!("`{attribute}` takes a plain `async fn`, neither `unsafe` nor `extern`");
        return fail(signature.span(), message);
    }
    let second = function.attrs.iter().find(|attribute| attribute.path().is_ident("test"));
    if let (Entry::Test, Some(second)) = (entry, second) {
        let message = format!("`{attribute}` is already a test: remove the second `#[test]`");
        return fail(second.span(), message);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum BusyPoll {
    Adaptive,
    Off,
}

enum Cores {
    All,
    Count(usize),
}

/// What stands in the parentheses of the attribute.
struct Arguments {
    runtime: Path,
    busy_poll: Option<BusyPoll>,
    cores: Option<Cores>,
    /// The only driver of a test, for which there is a reason.
    driver: Option<String>,
}

impl Arguments {
    fn parse(entry: Entry, input: ParseStream<'_>) -> Result<Self> {
        let (mut runtime, mut busy_poll) = (None, None);
        let (mut driver, mut reason, mut cores) = (None, None, None);
        while !input.is_empty() {
            let name = input.call(Ident::parse_any)?;
            match (entry, name.to_string().as_str()) {
                (_, "crate") => {
                    input.parse::<Token![=]>()?;
                    refuse_second(&name, runtime.replace(parse_runtime(input)?).is_some())?;
                }
                (Entry::Main, "busy_poll") => {
                    input.parse::<Token![=]>()?;
                    refuse_second(&name, busy_poll.replace(parse_busy_poll(input)?).is_some())?;
                }
                (Entry::Main, "cores") => {
                    input.parse::<Token![=]>()?;
                    refuse_second(&name, cores.replace(parse_cores(input)?).is_some())?;
                }
                (Entry::Test, "driver") => {
                    input.parse::<Token![=]>()?;
                    refuse_second(&name, driver.replace(parse_driver(input)?).is_some())?;
                }
                (Entry::Test, "reason") => {
                    input.parse::<Token![=]>()?;
                    refuse_second(&name, reason.replace(input.parse::<LitStr>()?).is_some())?;
                }
                _ => return Err(refuse_argument(entry, &name)),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let runtime = runtime.unwrap_or_else(default_runtime);
        let driver = check_reason(driver, reason)?;
        Ok(Arguments { runtime, busy_poll, cores, driver })
    }
}

fn parse_cores(input: ParseStream<'_>) -> Result<Cores> {
    const KNOWN: &str = "`cores` takes a number from 1 to 1024, or `\"all\"`";
    if input.peek(LitStr) {
        let value = input.parse::<LitStr>()?;
        return match value.value().as_str() {
            "all" => Ok(Cores::All),
            _ => Err(Error::new(value.span(), KNOWN)),
        };
    }
    let value = input.parse::<LitInt>().map_err(|error| Error::new(error.span(), KNOWN))?;
    match value.base10_parse() {
        Ok(count @ 1..=1024) => Ok(Cores::Count(count)),
        _ => Err(Error::new(value.span(), KNOWN)),
    }
}

fn parse_driver(input: ParseStream<'_>) -> Result<LitStr> {
    let value = input.parse::<LitStr>()?;
    if !DRIVERS.iter().any(|(name, _)| *name == value.value()) {
        let message = "`driver` takes `\"uring\"` or `\"epoll\"`";
        return Err(Error::new(value.span(), message));
    }
    Ok(value)
}

/// A test for one driver says why.
fn check_reason(driver: Option<LitStr>, reason: Option<LitStr>) -> Result<Option<String>> {
    match (driver, reason) {
        (None, None) => Ok(None),
        (Some(driver), Some(reason)) if !reason.value().trim().is_empty() => {
            Ok(Some(driver.value()))
        }
        (Some(driver), _) => {
            Err(Error::new(driver.span(), "a test for one driver says why: add `reason = \"...\"`"))
        }
        (None, Some(reason)) => {
            Err(Error::new(reason.span(), "`reason` belongs to a `driver`, which is missing"))
        }
    }
}

/// The path of the runtime's crate where the user names none.
pub(crate) fn default_runtime() -> Path {
    syn::parse_quote_spanned!(Span::call_site()=> ::corio)
}

/// The value of a `crate = path` argument.
pub(crate) fn parse_runtime(input: ParseStream<'_>) -> Result<Path> {
    if input.peek(LitStr) {
        return Err(input.error("write the path without quotes, as in `crate = ::corio`"));
    }
    input.call(Path::parse_mod_style)
}

fn parse_busy_poll(input: ParseStream<'_>) -> Result<BusyPoll> {
    const KNOWN: &str = "the known ones are `\"adaptive\"` and `\"off\"`";
    let value = input.parse::<LitStr>().map_err(|error| {
        Error::new(error.span(), format!("`busy_poll` takes a string: {KNOWN}"))
    })?;
    match value.value().as_str() {
        "adaptive" => Ok(BusyPoll::Adaptive),
        "off" => Ok(BusyPoll::Off),
        other => {
            let message = format!("unknown value `{other:?}` of `busy_poll`: {KNOWN}");
            Err(Error::new(value.span(), message))
        }
    }
}

fn refuse_second(name: &Ident, given_before: bool) -> Result<()> {
    if given_before {
        return Err(Error::new(name.span(), format!("`{name}` is given twice")));
    }
    Ok(())
}

fn refuse_argument(entry: Entry, name: &Ident) -> Error {
    let attribute = entry.attribute();
    let message = match (entry, name.to_string().as_str()) {
        (Entry::Test, "sim") => format!(
            "`sim` comes with a later release: today `{attribute}` runs on the ring; remove it"
        ),
        (Entry::Main, _) => format!(
            "unknown argument `{name}` of `{attribute}`: the known ones are `cores`, `busy_poll` \
             and `crate`"
        ),
        (Entry::Test, _) => {
            format!(
                "unknown argument `{name}` of `{attribute}`: the known ones are `driver`, `reason` \
                 and `crate`"
            )
        }
    };
    Error::new(name.span(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> TokenStream {
        text.parse().expect("the test's input is not Rust")
    }

    /// Expands the attribute, and compares the text without its spaces, which carry no meaning.
    #[track_caller]
    fn check(entry: Entry, arguments: &str, item: &str, expected: &str) {
        let expansion = expand(entry, tokens(arguments), tokens(item)).to_string();
        assert_eq!(expansion.replace(' ', ""), tokens(expected).to_string().replace(' ', ""));
    }

    #[track_caller]
    fn check_error(entry: Entry, arguments: &str, item: &str, message: &str) {
        let expansion = expand(entry, tokens(arguments), tokens(item)).to_string();
        let quoted = format!("compile_error ! {{ {message:?} }}");
        assert!(expansion.contains(&quoted), "no `{quoted}` in:\n{expansion}");
    }

    #[test]
    fn main_keeps_the_function_whole() {
        check(
            Entry::Main,
            "",
            "#[allow(dead_code)] pub async fn main() -> u8 { 1 }",
            "#[allow(dead_code)] pub fn main() -> u8 {
                async fn main() -> u8 { 1 }
                ::corio::__private::main(|builder| builder, main())
            }",
        );
    }

    #[test]
    fn main_configures_the_builder() {
        check(
            Entry::Main,
            "busy_poll = \"off\", crate = a::b",
            "async fn main() {}",
            "fn main() {
                async fn main() {}
                a::b::__private::main(|builder| builder.busy_poll(a::b::BusyPoll::Off), main())
            }",
        );
    }

    #[test]
    fn main_runs_once_on_many_cores() {
        for (argument, expected) in [("cores = 4", "Some(4usize)"), ("cores = \"all\"", "None")] {
            check(
                Entry::Main,
                argument,
                "async fn main() {}",
                &format!(
                    "fn main() {{
                        async fn main() {{}}
                        ::corio::__private::main_on({expected}, |builder| builder, main)
                    }}"
                ),
            );
        }
    }

    #[test]
    fn a_test_is_multiplied_by_the_drivers() {
        check(
            Entry::Test,
            "",
            "#[should_panic] async fn hazard() {}",
            "#[::core::prelude::v1::test] #[should_panic] fn hazard_uring() {
                async fn hazard() {}
                ::corio::__private::test(::corio::Driver::Uring, hazard)
            }
            #[::core::prelude::v1::test] #[should_panic] fn hazard_epoll() {
                async fn hazard() {}
                ::corio::__private::test(::corio::Driver::Epoll, hazard)
            }",
        );
    }

    #[test]
    fn a_test_for_one_driver_says_why() {
        check(
            Entry::Test,
            "driver = \"uring\", reason = \"it fills the completion queue\"",
            "fn hazard() {}",
            "#[::core::prelude::v1::test] fn hazard_uring() {
                fn hazard() {}
                ::corio::__private::test_on(::corio::Driver::Uring, hazard)
            }",
        );
        let why = "a test for one driver says why: add `reason = \"...\"`";
        check_error(Entry::Test, "driver = \"epoll\"", "fn hazard() {}", why);
        check_error(Entry::Test, "driver = \"epoll\", reason = \" \"", "fn hazard() {}", why);
        let unknown = "`driver` takes `\"uring\"` or `\"epoll\"`";
        check_error(Entry::Test, "driver = \"kqueue\"", "fn hazard() {}", unknown);
        let alone = "`reason` belongs to a `driver`, which is missing";
        check_error(Entry::Test, "reason = \"x\"", "fn hazard() {}", alone);
    }

    #[test]
    fn arguments_are_checked() {
        let main = "async fn main() {}";
        let cores = "`cores` takes a number from 1 to 1024, or `\"all\"`";
        for wrong in ["cores = 0", "cores = 1025", "cores = \"some\"", "cores = x"] {
            check_error(Entry::Main, wrong, main, cores);
        }
        check_error(
            Entry::Main,
            "flavor = \"x\"",
            main,
            "unknown argument `flavor` of `#[corio::main]`: the known ones are `cores`, \
             `busy_poll` and `crate`",
        );
        check_error(
            Entry::Main,
            "busy_poll = \"fast\"",
            main,
            "unknown value `\"fast\"` of `busy_poll`: the known ones are `\"adaptive\"` and \
             `\"off\"`",
        );
        check_error(Entry::Main, "crate = a, crate = b", main, "`crate` is given twice");
        check_error(
            Entry::Test,
            "busy_poll = \"off\"",
            main,
            "unknown argument `busy_poll` of `#[corio::test]`: the known ones are `driver`, \
             `reason` and `crate`",
        );
    }

    #[test]
    fn functions_are_checked() {
        check_error(
            Entry::Main,
            "",
            "fn main() {}",
            "`#[corio::main]` needs an `async fn`: write `async fn main()`",
        );
        check_error(
            Entry::Main,
            "",
            "async fn main(argument: u8) {}",
            "`#[corio::main]` takes an `async fn` without arguments: read those of the program \
             with `std::env::args()`",
        );
        check_error(
            Entry::Test,
            "",
            "async fn t<T>() {}",
            "`#[corio::test]` takes an `async fn` that is not generic",
        );
        check_error(
            Entry::Test,
            "",
            "#[test] async fn t() {}",
            "`#[corio::test]` is already a test: remove the second `#[test]`",
        );
        check_error(Entry::Main, "", "struct Main;", "`#[corio::main]` goes on an `async fn`");
    }
}
