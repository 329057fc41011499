//! The catalog: the built-in numbers, reports about invalid files, and reloading.

pub mod broken;
mod builtin;
mod im_codes;
mod meters;
mod selling;
mod watching;
