//! What watchers are promised, rule by rule; `model.rs` has it as one property.

mod apart;
mod behind;
mod cases;
mod hub;
mod model;
mod scripts;
mod store;
mod stored;
