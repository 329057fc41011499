// Calls a sidecar with @connectrpc/connect-node, and prints what it got as one line of JSON.
//
//   node client.mjs PROTOCOL FORM DATA-URL ADMIN-URL DESCRIPTORS APP
//
// PROTOCOL is connect1 (HTTP/1.1), connect2 (HTTP/2) or grpc; FORM is json or binary.

import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";

const [protocol, form, dataUrl, adminUrl, descriptors, appId] = process.argv.slice(2);
const set = fromBinary(FileDescriptorSetSchema, readFileSync(descriptors));
const registry = createFileRegistry(set);

function transport(baseUrl) {
  // JSON within gRPC is not served.
  if (protocol === "grpc") return createGrpcTransport({ baseUrl });
  const options = { baseUrl, useBinaryFormat: form === "binary" };
  return createConnectTransport({ ...options, httpVersion: protocol === "connect1" ? "1.1" : "2" });
}

function client(service, baseUrl) {
  return createClient(registry.getService(`imquota.v1.${service}`), transport(baseUrl));
}

const quota = client("QuotaService", dataUrl);
const admin = client("AdminService", adminUrl);
const plain = (schema, message) => toJson(registry.getMessage(`imquota.v1.${schema}`), message);

async function failure(call) {
  try {
    await call();
  } catch (error) {
    const found = ConnectError.from(error);
    const info = found.findDetails(registry.getMessage("google.rpc.ErrorInfo"));
    const bad = found.findDetails(registry.getMessage("google.rpc.BadRequest"));
    return {
      code: Code[found.code],
      message: found.rawMessage,
      reasons: info.map((each) => each.reason),
      fields: bad.flatMap((each) => each.fieldViolations.map((one) => one.field)),
    };
  }
  throw new Error("the call has succeeded");
}

const got = {};
const created = await quota.createGroup({ appId, groupId: "g", type: "Public", ownerId: "o" });
got.created = plain("CreateGroupResponse", created).group;
const joined = await quota.joinGroup({ appId, groupId: "g", userIds: ["o", "u"] });
got.joined = plain("JoinGroupResponse", joined).results;
let zone;
const onHeader = (headers) => (zone = headers.get("imquota-time-zone"));
const subject = { kind: { case: "groupId", value: "g" } };
const usage = await quota.getUsage({ appId, subject }, { onHeader, timeoutMs: 5000 });
got.used = usage.usages.map((each) => [each.limitId, each.used.toString()]);
got.zone = zone;
got.invalid = await failure(() => quota.joinGroup({ appId: "", groupId: "g" }));
got.missing = await failure(() => quota.joinGroup({ appId, groupId: "none", userIds: ["u"] }));
const denied = { headers: { "imquota-deny-as-error": "1" } };
const many = Array.from({ length: 300 }, (_, number) => `m${number}`);
await quota.joinGroup({ appId, groupId: "g", userIds: many });
got.denied = await failure(() => quota.joinGroup({ appId, groupId: "g", userIds: ["x"] }, denied));

const ended = new AbortController();
const events = admin.watchEvents({}, { signal: ended.signal })[Symbol.asyncIterator]();
await events.next();
await admin.createApp({ appId: `${appId}-app`, requestId: `${appId}-request` });
const event = (await events.next()).value.event;
got.event = [event.kind, event.appId];
ended.abort();
got.aborted = (await failure(() => events.next())).code;
got.badStream = await failure(async () => {
  for await (const _ of admin.watchEvents({ resumeToken: "x" }));
});

// A stream in both directions needs HTTP/2.
if (protocol !== "connect1") {
  const answered = [];
  let next;
  async function* operations() {
    for (const tag of [1n, 2n, 3n]) {
      const value = { appId, userIds: [`u${tag}`] };
      yield { tag, operation: { case: "createAccounts", value } };
      // The answer comes while the stream of requests is open.
      await new Promise((resolve) => (next = resolve));
    }
  }
  for await (const answer of quota.apply(operations())) {
    answered.push(answer.tag.toString());
    next();
  }
  got.applied = answered;
}
console.log(JSON.stringify(got));
process.exit(0);
