import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const protos = { includeDirs: ["proto"], keepCase: true, enums: String, defaults: true };
const schema = loader.loadSync("imquota/v1/quota_service.proto", protos);
const { QuotaService } = grpc.loadPackageDefinition(schema).imquota.v1;
const [ATTEMPT_MS, ATTEMPTS_MAX, ENDINGS_MAX] = [500, 4, 10_000];
const isUnknown = ({ code }) => code === grpc.status.UNAVAILABLE || code === grpc.status.DEADLINE_EXCEEDED;

export class Quota {
  endings = 0; // confirmations and releases without an answer yet
  constructor(address, appId) {
    const options = { "grpc.initial_reconnect_backoff_ms": 50, "grpc.max_reconnect_backoff_ms": 1000 };
    if (address.startsWith("unix:")) options["grpc.default_authority"] = "localhost";
    Object.assign(this, { appId, stub: new QuotaService(address, grpc.credentials.createInsecure(), options) });
  }
  async call(method, request) { // a repetition is safe: it counts once
    const wait = new grpc.Metadata({ waitForReady: true });
    const once = () => new Promise((resolve, reject) => this.stub[method](
      { app_id: this.appId, ...request }, wait, { deadline: Date.now() + ATTEMPT_MS },
      (error, reply) => (error ? reject(error) : resolve(reply))));
    for (let attempt = 1; ; attempt++) {
      try { return await once(); } catch (error) {
        if (!isUnknown(error) || attempt === ATTEMPTS_MAX) throw error;
        await sleep(Math.random() * 25 * 2 ** attempt);
      }
    }
  }
  async end(method, operation_id) { // repeated until it is done
    if (this.endings >= ENDINGS_MAX) throw new Error(`${method}: too many endings wait`);
    for (this.endings++; ; await sleep(1000)) {
      try { const reply = await this.call(method, { operation_id }); this.endings--; return reply; }
      catch (error) { if (!isUnknown(error)) { this.endings--; throw error; } }
    }
  }
  async joining(group_id, user_ids, commit) { // takes, commits, confirms; releases if the commit fails
    const operation_id = randomUUID(); // the same one in each attempt
    const take = { group_id, user_ids, all_or_nothing: true, hold_seconds: 60, operation_id };
    const release = () => this.end("ReleaseHold", operation_id).catch(console.warn); // else it ends by itself
    const { results, decision } = await this.call("JoinGroup", take).catch((error) => {
      if (isUnknown(error)) sleep(ATTEMPT_MS).then(release); // once no attempt can be carried out
      throw error;
    });
    const [denial] = results.flatMap(({ denials }) => denials);
    if (denial) throw Object.assign(new Error(denial.message), { denial }); // has im_error_code, upgrades
    try { await commit(); } catch (error) { release(); throw error; }
    if (decision.degradation || results.every(({ outcome }) => outcome === "OUTCOME_ALREADY_HELD")) return;
    const { results: ends } = await this.end("ConfirmHold", operation_id);
    const lost = ends.filter(({ outcome }) => /DENIED|ENDED/.test(outcome));
    if (lost.length) throw Object.assign(new Error("the hold ended before: undo the commit"), { lost });
  }
}
