//! The description as a whole, and the test that the file is the one of the protos.

use std::path::Path;

use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use serde_json::{Map, Value, json};
use tonic::Code;

use super::DOCUMENT;
use super::schema::{Schemas, comment};
use crate::connect::error::names;
use crate::connect::methods::path;
use crate::proto::descriptors::DESCRIPTORS;

/// Setting of the environment with which the test writes the file.
const WRITE: &str = "IMQUOTA_WRITE_OPENAPI";

const ABOUT: &str = "Every unary RPC of imquota as HTTP with JSON: the Connect protocol \
    (https://connectrpc.com/docs/protocol) on the listeners and paths of gRPC. Names in requests \
    may also be those of the protos, such as `app_id`; an unknown field is an error. Fields with \
    their default are left out of answers. A denial is an answer with status 200. RPCs with a \
    stream are not described here.";

fn document() -> Value {
    let mut schemas = Schemas::default();
    let (mut paths, mut tags) = (Map::new(), Vec::new());
    for service in DESCRIPTORS.services() {
        let text = comment(&service.parent_file(), service.path());
        tags.push(json!({ "name": service.name(), "description": text }));
        for method in service.methods() {
            if !method.is_client_streaming() && !method.is_server_streaming() {
                paths.insert(path(&method), operation(&service, &method, &mut schemas));
            }
        }
    }
    let mut schemas = schemas.0;
    schemas.insert("Error".to_owned(), error());
    schemas.insert("ErrorDetail".to_owned(), error_detail());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "imquota",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [
            { "url": "http://127.0.0.1:50051", "description": "The default of listen" },
            { "url": "http://127.0.0.1:50052", "description": "The default of admin_listen" },
        ],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": { "timeout": timeout() },
            "responses": { "Error": {
                "description": "No decision was made",
                "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Error" },
                } },
            } },
            "securitySchemes": { "adminToken": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(
    service: &ServiceDescriptor,
    method: &MethodDescriptor,
    schemas: &mut Schemas,
) -> Value {
    let text = comment(&method.parent_file(), method.path());
    let sentence = text.split_once(". ").map_or(text.as_str(), |(first, _)| first);
    let summary = sentence.trim_end_matches('.').replace('\n', " ");
    let mut operation = json!({
        "operationId": format!("{}_{}", service.name(), method.name()),
        "tags": [service.name()],
        "summary": summary,
        "description": text,
        "parameters": [{ "$ref": "#/components/parameters/timeout" }],
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": schemas.message(&method.input()) } },
        },
        "responses": {
            "200": {
                "description": "The answer",
                "content": { "application/json": { "schema": schemas.message(&method.output()) } },
            },
            "default": { "$ref": "#/components/responses/Error" },
        },
    });
    if service.name() != "QuotaService" {
        // Whether a token is needed is a setting of the listener.
        operation["security"] = json!([{}, { "adminToken": [] }]);
    }
    json!({ "post": operation })
}

fn timeout() -> Value {
    json!({
        "name": "Connect-Timeout-Ms",
        "in": "header",
        "description": "Milliseconds after which the caller gives up; the deadline of the decision",
        "schema": { "type": "string", "pattern": "^[0-9]{1,10}$" },
    })
}

fn error() -> Value {
    // Every code but OK, which is no error.
    let codes: Vec<_> = (1..17).map(|number| names(Code::from(number)).0).collect();
    json!({
        "type": "object",
        "description": "An error, with the same code and details as gRPC's",
        "required": ["code"],
        "properties": {
            "code": { "type": "string", "enum": codes },
            "message": { "type": "string" },
            "details": {
                "type": "array",
                "items": { "$ref": "#/components/schemas/ErrorDetail" },
            },
        },
    })
}

fn error_detail() -> Value {
    json!({
        "type": "object",
        "description": "A detail: `google.rpc.ErrorInfo` has the reason, `BadRequest` the fields",
        "required": ["type", "value"],
        "properties": {
            "type": { "type": "string", "description": "The name of its message" },
            "value": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "The encoded message, without padding",
            },
            "debug": { "description": "The message as JSON" },
        },
    })
}

#[test]
fn the_kept_description_is_the_one_of_the_protos() {
    let made = serde_json::to_string_pretty(&document()).expect("it has string keys only") + "\n";
    if std::env::var_os(WRITE).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/openapi.json");
        std::fs::write(path, &made).expect("the file is written");
        return;
    }
    let is_same = made == DOCUMENT;
    assert!(is_same, "proto/openapi.json is not made from the protos: run this with {WRITE}=1");
}

#[test]
fn every_message_of_a_unary_rpc_is_described_with_its_json_names() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let join = &schemas["JoinGroupRequest"]["properties"];
    assert_eq!(join["userIds"]["type"], "array");
    assert!(join["appId"]["description"].is_string(), "comments are included");
    assert_eq!(schemas["Denial"]["properties"]["used"]["format"], "uint64");
    assert_eq!(schemas["DecisionInfo"]["properties"]["decidedAt"]["format"], "date-time");
    let texts = schemas["Outcome"]["enum"].as_array().expect("names");
    assert!(texts.iter().any(|name| name == "OUTCOME_DENIED"));
    let all = schemas.as_object().expect("schemas");
    assert!(all.values().all(|schema| !schema.is_null()), "each was completed");
}
