//! Our `.proto` files describe the wire format that etcd publishes: every name, number and type.
//!
//! A program built from etcd's published Go modules prints each fact of theirs on a line, and this
//! test prints ours the same way; the two must be equal, so nothing may be missing or extra either.
//! Where there is no Go, the comparison is skipped, and says so.

use std::{collections::BTreeSet, path::Path, process::Command};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, field_descriptor_proto::Label,
};

/// The packages that etcd clients speak.
const PACKAGES: [&str; 5] = ["authpb", "etcdserverpb", "mvccpb", "v3electionpb", "v3lockpb"];

#[test]
fn our_etcd_protos_equal_the_published_ones() {
    let ours = our_lines();
    let Some(published) = published_lines() else {
        eprintln!("SKIPPED our_etcd_protos_equal_the_published_ones: no Go on this machine");
        return;
    };

    let missing: Vec<_> = published.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&published).collect();

    assert!(!published.is_empty(), "the published side is empty");
    assert!(
        missing.is_empty() && extra.is_empty(),
        "published by etcd but not ours: {missing:#?}\nours but not published: {extra:#?}"
    );
}

/// The lines of etcd's modules; `None` without Go.
///
/// The build script prints the path of each program that it has built, and nothing for one it had
/// to skip.
fn published_lines() -> Option<BTreeSet<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/build.sh");
    let built = output(Command::new("sh").arg(script).arg("descriptors"));
    let program = built.lines().next()?;
    Some(output(&mut Command::new(program)).lines().map(str::to_owned).collect())
}

/// What a command that must succeed prints on its standard output.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the output is text")
}

/// The lines of our own descriptors, all of them: whatever no service needs would be extra.
fn our_lines() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(quorate::proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptors decode");
    let mut lines = BTreeSet::new();
    for file in set.file.iter().filter(|file| PACKAGES.contains(&file.package())) {
        method_lines(file, &mut lines);
        for message in &file.message_type {
            message_lines(file.package(), message, &mut lines);
        }
        for described in &file.enum_type {
            enum_lines(file.package(), described, &mut lines);
        }
    }
    lines
}

fn method_lines(file: &FileDescriptorProto, lines: &mut BTreeSet<String>) {
    for service in &file.service {
        for method in &service.method {
            lines.insert(format!(
                "method {}.{}.{} request={} response={} client_streaming={} server_streaming={}",
                file.package(),
                service.name(),
                method.name(),
                absolute(method.input_type()),
                absolute(method.output_type()),
                method.client_streaming(),
                method.server_streaming(),
            ));
        }
    }
}

fn message_lines(scope: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    lines.insert(format!("message {name}"));
    for field in &message.field {
        lines.insert(field_line(&name, message, field));
    }
    for nested in &message.nested_type {
        message_lines(&name, nested, lines);
    }
    for nested in &message.enum_type {
        enum_lines(&name, nested, lines);
    }
}

fn field_line(scope: &str, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let kind = field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase();
    let kind = match field.type_name.as_deref() {
        Some(named) => format!("{kind}:{}", absolute(named)),
        None => kind,
    };
    let label = match field.label() {
        Label::Optional => "optional",
        Label::Required => "required",
        Label::Repeated => "repeated",
    };
    let oneof = field.oneof_index.map_or("-", |index| {
        let index = usize::try_from(index).expect("protox numbers oneofs from 0");
        message.oneof_decl.get(index).expect("a field's oneof is declared").name()
    });
    format!(
        "field {scope}.{} number={} type={kind} label={label} oneof={oneof} json={}",
        field.name(),
        field.number(),
        field.json_name(),
    )
}

fn enum_lines(scope: &str, described: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &described.value {
        lines.insert(format!(
            "value {scope}.{}.{} number={}",
            described.name(),
            value.name(),
            value.number(),
        ));
    }
}

/// A type's name as it is written with its package: descriptors begin it with a dot.
fn absolute(name: &str) -> &str {
    name.trim_start_matches('.')
}
