// Calls a running server as a client in another language does, and prints what it saw as JSON.
//
//     node client.cjs '{"way": "static", "target": "127.0.0.1:50051", "ca": "", "key": "", "roots": ["."], "collection": "compass"}'
//
// `way` is "static", by the .proto files under `roots`, or "reflection", by asking the server for them.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");
const protobuf = require("protobufjs");
const reflection = require("grpc-reflection-js");

const FILES = ["search", "items", "collections", "server"].map((name) => `protos/twinspire/v1/${name}.proto`);
const SERVICES = ["SearchService", "ItemService", "CollectionService", "ServerService"];
const DETAILS_KEY = "grpc-status-details-bin";
const LOADING = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };

const given = JSON.parse(process.argv[2]);
const credentials = given.ca
  ? grpc.credentials.createSsl(fs.readFileSync(given.ca))
  : grpc.credentials.createInsecure();

function metadata(key) {
  const made = new grpc.Metadata();
  if (key) made.set("authorization", `Bearer ${key}`);
  return made;
}

const options = () => ({ deadline: Date.now() + 30_000 });

/** Read the services' descriptions, from files or from the server. */
async function definitions() {
  if (given.way === "static") return [protoLoader.loadSync(FILES, { ...LOADING, includeDirs: given.roots })];
  const asking = new reflection.Client(given.target, credentials, {}, metadata(given.key));
  const listed = await asking.listServices();
  const found = listed.filter((name) => SERVICES.some((service) => name === `twinspire.v1.${service}`));
  const roots = await Promise.all(found.map((name) => asking.fileContainingSymbol(name)));
  asking.grpcClient.close();
  return roots.map((root) => protoLoader.fromJSON(root.toJSON(), LOADING));
}

/** Make a client of each service, by its name. */
async function connect() {
  const clients = {};
  for (const definition of await definitions()) {
    const { v1 } = grpc.loadPackageDefinition(definition).twinspire;
    for (const name of SERVICES) {
      if (v1[name]?.service) clients[name] ??= new v1[name](given.target, credentials);
    }
  }
  return clients;
}

/** Call a method with one request and one answer. */
function unary(client, method, request, key = given.key) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata(key), options(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

/** Send requests up a stream, and gather what comes back. */
function stream(client, method, requests, key = given.key) {
  return new Promise((resolve, reject) => {
    const answers = [];
    const call = client[method](metadata(key), options());
    call.on("data", (answer) => answers.push(answer));
    call.on("error", reject);
    call.on("end", () => resolve(answers));
    for (const request of requests) call.write(request);
    call.end();
  });
}

// The types of an error's details are google.rpc's, which every client knows from files.
const known = new protobuf.Root();
known.resolvePath = (_origin, target) =>
  given.roots.map((root) => path.join(root, target)).find((file) => fs.existsSync(file)) ?? target;
known.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"], { keepCase: true });

/** Unpack a google.rpc.Status's details, by the name of their type. */
function unpacked(status) {
  const found = {};
  for (const any of status.details) {
    const type = known.lookupType(any.type_url.split("/").pop());
    found[type.name] = type.toObject(type.decode(any.value), { longs: Number });
  }
  return found;
}

/** Expect a call to fail, and tell how. */
async function failure(call) {
  try {
    await call;
  } catch (error) {
    const [bytes] = error.metadata.get(DETAILS_KEY);
    const details = bytes ? unpacked(known.lookupType("google.rpc.Status").decode(bytes)) : {};
    return { code: grpc.status[error.code], message: error.details, details };
  }
  return { code: "OK" };
}

const ids = (answer) => answer.hits.map((hit) => hit.id);
const ask = (text, more = {}) => ({ collection: given.collection, query: { text }, limit: 2, ...more });

async function searches({ SearchService: search }, seen) {
  const answer = await unary(search, "Search", ask("north"));
  seen.search = { ids: ids(answer), score: answer.hits[0].score, version: answer.index_version };
  const f32le = Buffer.from(Float32Array.from(given.vector).buffer);
  seen.vector = ids(await unary(search, "Search", { ...ask(""), query: { vector: { f32le } } }));
  const filter = { must: [{ match: { attribute: "length", any_of: [{ int_value: 5 }] } }] };
  seen.filtered = ids(await unary(search, "Search", ask("red", { filter, limit: 10 }))).sort();
  const batch = await unary(search, "BatchSearch", { requests: [ask("north"), ask(" "), ask("red")] });
  seen.batch = batch.results.map((result) =>
    result.outcome === "response" ? ids(result.response) : unpacked(result.error).ErrorInfo.reason,
  );
}

async function writes({ ItemService: items, SearchService: search }, seen) {
  const upsert = (id, text) => ({ collection: given.collection, items: [{ id, text }] });
  const answers = await stream(items, "UpsertItems", [upsert("node-a", "old far"), upsert("", "x"), upsert("node-b", "old")]);
  seen.upserts = answers.map((answer) => ({
    stored: answer.inserted + answer.replaced + answer.unchanged,
    sequence: answer.sequence,
    errors: answer.errors.map((each) => unpacked(each.error).ErrorInfo.reason),
  }));
  seen.found = ids(await unary(search, "Search", ask("old far", { limit: 1 })));
  const what = { ids: { ids: ["node-a", "node-b", "nobody"] } };
  const deleted = await unary(items, "DeleteItems", { collection: given.collection, ...what });
  seen.deleted = { count: deleted.deleted, missing: deleted.missing_ids };
}

async function failures({ SearchService: search, CollectionService: collections }, seen) {
  seen.unknown = await failure(unary(search, "Search", ask("north", { collection: "nowhere" })));
  seen.limit = await failure(unary(search, "Search", ask("north", { limit: 5000 })));
  const switching = { collection: given.collection, version: "none", expected_version: "other" };
  seen.version = await failure(unary(collections, "SetLiveVersion", switching));
  seen.stranger = await failure(unary(search, "Search", ask("north"), "twinspire_wrong"));
}

async function main() {
  const clients = await connect();
  const seen = { services: Object.keys(clients).sort() };
  seen.server = (await unary(clients.ServerService, "GetServerInfo", {})).limits.max_limit;
  await searches(clients, seen);
  await writes(clients, seen);
  await failures(clients, seen);
  for (const client of Object.values(clients)) client.close();
  process.stdout.write(JSON.stringify(seen));
}

main();
