//! `select!`: reads the branches, writes the code that polls them.
//!
//! The expansion has three parts, and which of them a piece of the user's code lands in decides
//! what it may do:
//!
//! ```text
//! {
//!     enum Outcome<B0, B1> { B0(B0), B1(B1), Disabled }
//!     let mut disabled: u64 = 0;                  // one bit for each branch
//!     if !condition_1 { disabled |= 1 << 1; }     // 1. conditions: surrounding function
//!     let outcome = match (pin!(future_0), pin!(future_1)) {
//!         (mut f0, mut f1) => {                   // 2. polling: a closure, which sees nothing of
//!             poll_fn(|context| ..).await         //    the user's but the shapes of the patterns
//!         }
//!     };
//!     match outcome {                             // 3. handlers: surrounding function again
//!         Outcome::B0(pattern_0) => handler_0,
//!         Outcome::B1(pattern_1) => handler_1,
//!         Outcome::Disabled => handler_of_else,
//!     }
//! }
//! ```
//!
//! The futures are pinned in the head of a `match`, because what is borrowed there lives as long
//! as the `match`: `select! { line = read(&mut String::new()) => .. }` compiles. Each future is
//! written to its place once and never moved, so a `select!` adds nothing to the size of the
//! function's own future beyond the futures themselves. They are gone when part 3 begins.
//!
//! Part 2 must know whether an output matches its pattern without taking it apart, since part 3
//! does that. So it compares with a copy of the pattern in which each variable is `_`. Without
//! its types, a variable cannot be told from a constant or a unit variant such as `None`; Rust's
//! own naming convention, enforced by its lints, tells them: variables begin in lower case.
//!
//! All names that the expansion declares have mixed-site spans, so that no user code can see
//! them or be captured by them.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Expr, Ident, Pat, Path, Result, Token};

use crate::entry::{default_runtime, parse_runtime};

/// One bit of a `u64` says whether a branch is disabled.
const BRANCH_COUNT_MAX: usize = 64;

mod keyword {
    syn::custom_keyword!(biased);
}

pub(crate) fn select(input: TokenStream) -> TokenStream {
    match syn::parse2::<Select>(input) {
        Ok(select) => select.expand(),
        Err(error) => error.into_compile_error(),
    }
}

/// The whole input of a `select!`.
struct Select {
    runtime: Path,
    biased: bool,
    branches: Vec<Branch>,
    otherwise: Option<Expr>,
}

/// `pattern = future (, if condition)? => handler`
struct Branch {
    pattern: Pat,
    future: Expr,
    condition: Option<Expr>,
    handler: Expr,
}

impl Parse for Select {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut runtime = default_runtime();
        if input.peek(Token![crate]) && input.peek2(Token![=]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            runtime = parse_runtime(input)?;
            input.parse::<Token![;]>()?;
        }
        let biased = input.peek(keyword::biased) && input.peek2(Token![;]);
        if biased {
            input.parse::<keyword::biased>()?;
            input.parse::<Token![;]>()?;
        }
        let mut branches = Vec::new();
        let mut otherwise = None;
        while !input.is_empty() {
            if otherwise.is_some() {
                return Err(input.error("`else` must be the last branch of `select!`"));
            }
            if input.peek(Token![else]) {
                input.parse::<Token![else]>()?;
                otherwise = Some(parse_handler(input, "`else`")?);
                continue;
            }
            if branches.len() == BRANCH_COUNT_MAX {
                let message = format!("`select!` takes at most {BRANCH_COUNT_MAX} branches");
                return Err(input.error(message));
            }
            branches.push(input.parse()?);
        }
        if branches.is_empty() {
            let message = "`select!` needs at least one branch: `pattern = future => handler`";
            return Err(input.error(message));
        }
        Ok(Select { runtime, biased, branches, otherwise })
    }
}

impl Parse for Branch {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(keyword::biased) && input.peek2(Token![;]) {
            return Err(input.error("`biased;` must stand before the branches of `select!`"));
        }
        let pattern = input.call(Pat::parse_multi_with_leading_vert)?;
        if !input.peek(Token![=]) || input.peek(Token![=>]) {
            return Err(input.error(
                "expected `=` after the pattern: a branch is `pattern = future => handler`, \
                 with `_` as the pattern where the value does not matter",
            ));
        }
        input.parse::<Token![=]>()?;
        let future = input.parse()?;
        let mut condition = None;
        if input.peek(Token![,]) {
            input.parse::<Token![,]>()?;
            if !input.peek(Token![if]) {
                return Err(input.error(
                    "expected `if` and a condition after the comma: a branch is \
                     `pattern = future, if condition => handler`",
                ));
            }
            input.parse::<Token![if]>()?;
            condition = Some(input.parse()?);
        }
        let handler = parse_handler(input, "the future")?;
        Ok(Branch { pattern, future, condition, handler })
    }
}

/// Reads `=> handler` and the comma behind it, which only a block may leave out.
fn parse_handler(input: ParseStream<'_>, before: &str) -> Result<Expr> {
    if !input.peek(Token![=>]) {
        return Err(input.error(format!("expected `=>` and a handler after {before}")));
    }
    input.parse::<Token![=>]>()?;
    if input.is_empty() {
        return Err(input.error("expected a handler after `=>`"));
    }
    let handler = input.call(Expr::parse_with_earlier_boundary_rule)?;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    } else if !input.is_empty() && !is_block_like(&handler) {
        return Err(input.error("expected `,` after the handler"));
    }
    Ok(handler)
}

/// Whether an arm of a `match` may end with this expression and no comma.
fn is_block_like(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::Block(_)
            | Expr::Unsafe(_)
            | Expr::Const(_)
            | Expr::If(_)
            | Expr::Match(_)
            | Expr::Loop(_)
            | Expr::While(_)
            | Expr::ForLoop(_)
            | Expr::TryBlock(_)
    )
}

impl Select {
    fn expand(&self) -> TokenStream {
        let names: Vec<Ident> = (0..self.branches.len())
            .map(|index| format_ident!("Branch{index}", span = Span::mixed_site()))
            .collect();
        let futures: Vec<Ident> = (0..self.branches.len())
            .map(|index| format_ident!("future_{index}", span = Span::mixed_site()))
            .collect();
        let outcome = format_ident!("__CorioSelectOutcome", span = Span::mixed_site());
        let conditions = self.expand_conditions();
        let heads = self.branches.iter().map(Branch::expand_future);
        let polling = self.expand_polling(&outcome, &names, &futures);
        let handlers = self.expand_handlers(&outcome, &names);
        quote_spanned! {Span::mixed_site()=> {
            enum #outcome<#(#names),*> { #(#names(#names),)* Disabled }
            let mut disabled: u64 = 0;
            #conditions
            let outcome = match (#(#heads,)*) {
                (#(mut #futures,)*) => ::core::future::poll_fn(#polling).await,
            };
            #handlers
        }}
    }

    fn expand_conditions(&self) -> TokenStream {
        let conditions = self.branches.iter().enumerate().filter_map(|(index, branch)| {
            let condition = branch.condition.as_ref()?;
            let bit = bit_of(index);
            Some(quote_spanned! {Span::mixed_site()=>
                let enabled: bool = #condition;
                if !enabled { disabled |= #bit; }
            })
        });
        quote!(#(#conditions)*)
    }

    /// The closure that is polled until one branch has an output that matches its pattern.
    fn expand_polling(&self, outcome: &Ident, names: &[Ident], futures: &[Ident]) -> TokenStream {
        let runtime = &self.runtime;
        let branch_count = self.branches.len();
        // Of one branch there is no order to draw.
        let start = match self.biased || branch_count == 1 {
            true => quote!(0usize),
            false => quote!(#runtime::__private::select_start(#branch_count)),
        };
        let arms = self.branches.iter().enumerate().map(|(index, branch)| {
            let (bit, name, future) = (bit_of(index), &names[index], &futures[index]);
            let shape = without_variables(&branch.pattern);
            quote_spanned! {Span::mixed_site()=>
                #index if disabled & #bit == 0 => {
                    match ::core::future::Future::poll(#future.as_mut(), context) {
                        ::core::task::Poll::Pending => waiting = true,
                        // Nothing is reachable where the output is `!`.
                        #[allow(unreachable_code, unreachable_patterns)]
                        ::core::task::Poll::Ready(output) => {
                            disabled |= #bit;
                            match output {
                                #shape => {
                                    return ::core::task::Poll::Ready(#outcome::#name(output));
                                }
                                _ => {}
                            }
                        }
                    }
                }
            }
        });
        quote_spanned! {Span::mixed_site()=>
            |context: &mut ::core::task::Context<'_>| {
                let mut waiting = false;
                let mut branch: usize = #start;
                for _ in 0..#branch_count {
                    match branch {
                        #(#arms)*
                        _ => {}
                    }
                    branch += 1;
                    if branch == #branch_count {
                        branch = 0;
                    }
                }
                match waiting {
                    true => ::core::task::Poll::Pending,
                    false => ::core::task::Poll::Ready(#outcome::Disabled),
                }
            }
        }
    }

    fn expand_handlers(&self, outcome: &Ident, names: &[Ident]) -> TokenStream {
        let patterns = self.branches.iter().map(|branch| &branch.pattern);
        let handlers = self.branches.iter().map(|branch| &branch.handler);
        let otherwise = match &self.otherwise {
            Some(handler) => quote!(#handler),
            None => quote! {
                ::core::panic!("every branch of this `select!` is disabled and it has no `else`")
            },
        };
        quote_spanned! {Span::mixed_site()=>
            match outcome {
                #(#outcome::#names(#patterns) => #handlers,)*
                #outcome::Disabled => #otherwise,
                #[allow(unreachable_patterns)]
                _ => ::core::panic!(
                    "a constant in a pattern of `select!` must be named in upper case"
                ),
            }
        }
    }
}

impl Branch {
    /// The future at its final place, with the span of the user's expression, so that "is not a
    /// future" points there.
    fn expand_future(&self) -> TokenStream {
        let future = &self.future;
        let span = future.span().resolved_at(Span::mixed_site());
        quote_spanned! {span=>
            ::core::pin::pin!(::core::future::IntoFuture::into_future(#future))
        }
    }
}

fn bit_of(index: usize) -> u64 {
    1 << index
}

/// The same pattern with `_` for each variable: it matches the same values and takes nothing.
fn without_variables(pattern: &Pat) -> Pat {
    let mut shape = pattern.clone();
    remove_variables(&mut shape);
    shape
}

fn remove_variables(pattern: &mut Pat) {
    match pattern {
        Pat::Ident(variable) => match variable.subpat.take() {
            Some((_, mut inner)) => {
                remove_variables(&mut inner);
                *pattern = *inner;
            }
            None if is_variable(variable) => *pattern = syn::parse_quote!(_),
            None => {}
        },
        Pat::Or(or) => or.cases.iter_mut().for_each(remove_variables),
        Pat::Paren(paren) => remove_variables(&mut paren.pat),
        Pat::Reference(reference) => remove_variables(&mut reference.pat),
        Pat::Slice(slice) => slice.elems.iter_mut().for_each(remove_variables),
        Pat::Tuple(tuple) => tuple.elems.iter_mut().for_each(remove_variables),
        Pat::TupleStruct(tuple) => tuple.elems.iter_mut().for_each(remove_variables),
        Pat::Type(typed) => remove_variables(&mut typed.pat),
        Pat::Struct(structure) => {
            for field in &mut structure.fields {
                // `Point { x }` is short for `Point { x: x }`, and only that can become `x: _`.
                field.colon_token.get_or_insert_with(Default::default);
                remove_variables(&mut field.pat);
            }
        }
        _ => {}
    }
}

fn is_variable(variable: &syn::PatIdent) -> bool {
    let name = variable.ident.unraw().to_string();
    variable.by_ref.is_some()
        || variable.mutability.is_some()
        || !name.starts_with(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> TokenStream {
        text.parse().expect("the test's input is not Rust")
    }

    #[track_caller]
    fn check_error(input: &str, message: &str) {
        let expansion = select(tokens(input)).to_string();
        let quoted = format!("{message:?} }}");
        assert!(expansion.contains(&quoted), "no `{quoted}` in:\n{expansion}");
    }

    #[track_caller]
    fn check_shape(pattern: &str, expected: &str) {
        let parser = Pat::parse_multi_with_leading_vert;
        let pattern = syn::parse::Parser::parse_str(parser, pattern).expect("a pattern");
        let shape = without_variables(&pattern);
        let without_spaces = quote!(#shape).to_string().replace(' ', "");
        assert_eq!(without_spaces, expected.replace(' ', ""));
    }

    #[test]
    fn a_shape_has_no_variables() {
        check_shape("x", "_");
        check_shape("mut x", "_");
        check_shape("ref X", "_");
        check_shape("r#match", "_");
        check_shape("()", "()");
        check_shape("None", "None");
        check_shape("LIMIT", "LIMIT");
        check_shape("Some(&x)", "Some(&_)");
        check_shape("Ok(Some(mut x)) | Err(x)", "Ok(Some(_)) | Err(_)");
        check_shape("number @ 1..=9", "1..=9");
        check_shape("all @ Some(inner)", "Some(_)");
        check_shape("(a, .., b)", "(_, .., _)");
        check_shape("[first, rest @ ..]", "[_, ..]");
        check_shape("Point { x, ref y, z: 0, .. }", "Point { x: _, y: _, z: 0, .. }");
        check_shape("module::Kind::A(x)", "module::Kind::A(_)");
    }

    #[test]
    fn syntax_is_checked() {
        check_error("x = f() {}", "expected `=>` and a handler after the future");
        check_error("else {}", "expected `=>` and a handler after `else`");
        check_error(
            "x = f(), => {}",
            "expected `if` and a condition after the comma: a branch is \
             `pattern = future, if condition => handler`",
        );
        check_error(
            "f() => {}",
            "expected `=` after the pattern: a branch is `pattern = future => handler`, \
             with `_` as the pattern where the value does not matter",
        );
        check_error("x = f() => 1 y = g() => 2", "expected `,` after the handler");
        check_error("else => {} x = f() => {}", "`else` must be the last branch of `select!`");
        check_error(
            "x = f() => {} biased;",
            "`biased;` must stand before the branches of `select!`",
        );
        check_error(
            "else => {}",
            "unexpected end of input, `select!` needs at least one branch: \
             `pattern = future => handler`",
        );
        check_error(&"x = f() => {}".repeat(65), "`select!` takes at most 64 branches");
    }

    #[test]
    fn a_block_needs_no_comma() {
        let input = tokens("a = f() => {} b = f() => if c {} d = f() => match e {} else => 1");
        let select: Select = syn::parse2(input).expect("four branches");
        assert_eq!(select.branches.len(), 3);
        assert!(select.otherwise.is_some() && !select.biased);
    }

    #[test]
    fn the_order_is_drawn_from_the_named_crate_unless_biased() {
        let two = "x = f() => {} y = g() => {}";
        let drawn = select(tokens(&format!("crate = a::b; {two}"))).to_string();
        assert!(drawn.contains("a :: b :: __private :: select_start (2usize)"), "{drawn}");
        let biased = select(tokens(&format!("biased; {two}"))).to_string();
        assert!(!biased.contains("select_start"), "{biased}");
    }
}
