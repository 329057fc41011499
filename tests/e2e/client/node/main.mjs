// Fills a group of 20 with 30 users at a time, and lets one commit fail; prints the results as JSON.
import { Quota } from "./quota.mjs";

const [address, appId] = process.argv.slice(2);
const quota = new Quota(address, appId);
await quota.call("CreateGroup", { group_id: "g", type: "Public", owner_id: "owner" });

const members = new Set();
const codes = [];
const join = async (user) => {
  try {
    await quota.joining("g", [user], async () => members.add(user));
  } catch (error) {
    codes.push(error.denial.im_error_code);
  }
};
const failure = await quota.joining("g", ["lost"], async () => { throw new Error("disk full"); })
  .catch((error) => error.message);
while (quota.endings) await new Promise((resolve) => setTimeout(resolve, 5));
await Promise.all(Array.from({ length: 30 }, (_, number) => join(`u${number}`)));
await quota.joining("g", [...members], async () => {}); // members already
const { usages } = await quota.call("GetUsage", { subject: { group_id: "g" } });
const { used, held } = usages.find(({ limit_id }) => limit_id === "members_per_group");
console.log(JSON.stringify({ members: members.size, codes, failure, used: Number(used), held: Number(held) }));
// A restart of the sidecar under a join: the test kills it at the commit and starts it again.
await quota.call("LeaveGroup", { group_id: "g", user_ids: [...members].slice(0, 1) });
await quota.joining("g", ["last"], async () => {
  console.log("killed?");
  await new Promise((resolve) => process.stdin.once("data", resolve));
});
console.log("confirmed");
process.exit(0);
