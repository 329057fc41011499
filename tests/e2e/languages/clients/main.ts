// Messages in TypeScript: reads a JoinGroupResponse as JSON from the first argument, and prints a
// line for each result; then prints a CreateGroupRequest as the bytes of protobuf, in base64.
import { create, fromJsonString, toBinary } from "@bufbuild/protobuf";
import { OutcomeSchema, type Result } from "./imquota/v1/common_pb.js";
import {
  CreateGroupRequestSchema,
  JoinGroupResponseSchema,
  QuotaService,
} from "./imquota/v1/quota_service_pb.js";

function show(result: Result): void {
  console.log(OutcomeSchema.value[result.outcome]?.name, result.denials.length);
}

const response = fromJsonString(JoinGroupResponseSchema, process.argv[2] ?? "{}");
response.results.forEach(show);
const request = create(CreateGroupRequestSchema, {
  appId: "ts",
  groupId: "g1",
  type: "Public",
  ownerId: "ann",
  memberIds: ["bob"],
  maxMembers: 2,
  holdSeconds: 60,
  operationId: "create-1",
});
console.log(Buffer.from(toBinary(CreateGroupRequestSchema, request)).toString("base64"));
console.log(Object.keys(QuotaService.method).length, QuotaService.method.joinGroup.methodKind);
