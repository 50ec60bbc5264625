// A Node program that calls a stigmer server: client.js PROTOS ADDRESS. The protos are loaded as they are.
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [protos, address] = process.argv.slice(2);
const files = ["agent", "agentexecution"].flatMap((kind) =>
  ["command", "query"].map((name) => `ai/stigmer/agentic/${kind}/v1/${name}.proto`),
);
const loaded = loader.loadSync(files, { includeDirs: [protos], enums: String, defaults: true });
const { agentic } = grpc.loadPackageDefinition(loaded).ai.stigmer;
const API = "agentic.stigmer.ai/v1";

const client = (Service) => new Service(address, grpc.credentials.createInsecure());
const call = (stub, method, request) => promisify(stub[method].bind(stub))(request);

const agents = client(agentic.agent.v1.AgentCommandController);
const agent = await call(agents, "apply", {
  apiVersion: API,
  kind: "Agent",
  metadata: { name: "Written in Node", org: "acme", ownerScope: "organization" },
  spec: { instructions: "Answer in one sentence." },
});
console.log(agent.metadata.slug);

try {
  await call(agents, "create", {});
} catch (error) {
  console.log(grpc.status[error.code]);
}

const commands = client(agentic.agentexecution.v1.AgentExecutionCommandController);
const execution = await call(commands, "create", {
  apiVersion: API,
  kind: "AgentExecution",
  metadata: { name: "Run from Node" },
  spec: { agentId: agent.metadata.id, message: "Go on." },
});
const queries = client(agentic.agentexecution.v1.AgentExecutionQueryController);
for await (const state of queries.subscribe({ value: execution.metadata.id })) {
  console.log(state.status.phase);
  if (state.status.phase === "EXECUTION_PENDING") {
    const status = { phase: "EXECUTION_COMPLETED" };
    await call(commands, "updateStatus", { executionId: execution.metadata.id, status });
  }
}
for (const one of [agents, commands, queries]) one.close();
