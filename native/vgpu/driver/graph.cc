// Graphs: created by capture or node by node, instantiated, and launched as jobs with the nodes' dependencies.
#include <algorithm>

#include "driver/state.h"

using namespace vgpu;
using namespace vgpu::driver;

namespace vgpu::driver {

std::shared_ptr<Node> Graph::add(Work work, std::vector<std::shared_ptr<Node>> after) {
  auto node = vgpu::driver::driver().create<Node>();
  node->graph = weak_from_this();
  node->work = std::move(work);
  node->after = std::move(after);
  nodes.push_back(node);
  return node;
}

}  // namespace vgpu::driver

namespace {

using Nodes = std::vector<std::shared_ptr<Node>>;

CUgraphNodeType type_of(const Work& work) {
  static constexpr CUgraphNodeType types[] = {CU_GRAPH_NODE_TYPE_EMPTY, CU_GRAPH_NODE_TYPE_KERNEL,
                                              CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_MEMSET,
                                              CU_GRAPH_NODE_TYPE_HOST};
  return types[work.index()];
}

Nodes nodes_of(ApiCall& c, const Graph& graph, const CUgraphNode* list, size_t n) {
  require(list || n == 0);
  require(n <= graph.nodes.size());
  Nodes out;
  for (size_t i = 0; i < n; i++) {
    auto node = c.driver.get<Node>(list[i], CUDA_ERROR_INVALID_VALUE);
    require(node->graph.lock().get() == &graph && std::find(out.begin(), out.end(), node) == out.end());
    out.push_back(std::move(node));
  }
  return out;
}

// Adds a node; make(c) returns its work.
template <class F>
CUresult add(CUgraphNode* out, CUgraph handle, const CUgraphNode* after, size_t n, F&& make) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    auto dependencies = nodes_of(c, *graph, after, n);
    *out = handle_of<CUgraphNode>(*graph->add(make(c), std::move(dependencies)));
  });
}

std::shared_ptr<Context> context_named(ApiCall& c, CUcontext handle) {
  return handle ? c.driver.get<Context>(handle, CUDA_ERROR_INVALID_CONTEXT) : c.context;
}

KernelWork kernel(ApiCall& c, const CUDA_KERNEL_NODE_PARAMS* p) {
  require(p && (p->func || p->kern));
  const auto f = function_of(c, p->func ? static_cast<const void*>(p->func) : p->kern, context_named(c, p->ctx));
  const LaunchShape shape{{p->gridDimX, p->gridDimY, p->gridDimZ},
                          {p->blockDimX, p->blockDimY, p->blockDimZ},
                          {1, 1, 1},
                          p->sharedMemBytes,
                          false};
  return kernel_work(c, f, shape, p->kernelParams, p->extra);
}

// The nodes in topological order. Nodes on a cycle are missing.
Nodes in_order(const Graph& graph) {
  Nodes order;
  std::set<Node*> done;
  for (bool progress = true; progress;) {
    progress = false;
    for (const auto& node : graph.nodes) {
      if (done.contains(node.get())) continue;
      if (!std::all_of(node->after.begin(), node->after.end(), [&](const auto& n) { return done.contains(n.get()); }))
        continue;
      order.push_back(node);
      done.insert(node.get());
      progress = true;
    }
  }
  return order;
}

std::vector<GraphExec::Step> steps_of(const Graph& graph) {
  const Nodes order = in_order(graph);
  require(order.size() == graph.nodes.size(), CUDA_ERROR_INVALID_VALUE, "the graph has a cycle");
  std::vector<GraphExec::Step> steps;
  for (const auto& node : order) {
    GraphExec::Step step{node->handle, node->work, {}};
    for (const auto& before : node->after)
      step.after.push_back(static_cast<size_t>(std::find(order.begin(), order.end(), before) - order.begin()));
    std::sort(step.after.begin(), step.after.end());
    steps.push_back(std::move(step));
  }
  return steps;
}

// Fills the caller's array, or returns the required length if there is none.
template <class H, class F>
void list(H* out, size_t* count, size_t n, F&& item) {
  require(count != nullptr);
  if (!out) {
    *count = n;
    return;
  }
  for (size_t i = 0; i < *count; i++) out[i] = i < n ? item(i) : nullptr;
  *count = std::min(*count, n);
}

// The reason why a step cannot take over the work of another node.
CUgraphExecUpdateResult obstacle(const Work& was, const Work& now) {
  if (was.index() != now.index()) return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
  if (const auto* a = std::get_if<KernelWork>(&was)) {
    const auto& b = std::get<KernelWork>(now);
    if (a->module->context != b.module->context) return CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE;
    if (a->shape.cooperative != b.shape.cooperative) return CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED;
  } else if (const auto* x = std::get_if<CopyWork>(&was)) {
    const auto& y = std::get<CopyWork>(now);
    if (x->from.host != y.from.host || x->to.host != y.to.host) return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
  } else if (const auto* f = std::get_if<FillWork>(&was)) {
    const auto& g = std::get<FillWork>(now);
    if ((f->height > 1 || g.height > 1) && (f->height != g.height || f->width != g.width || f->pitch != g.pitch))
      return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
  }
  return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

}  // namespace

CUresult cuGraphCreate(CUgraph* out, unsigned int flags) {
  return with_driver([&](ApiCall& c) {
    require(out && flags == 0);
    *out = handle_of<CUgraph>(*c.driver.create<Graph>());
  });
}

CUresult cuGraphDestroy(CUgraph handle) {
  return with_driver([&](ApiCall& c) {
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    for (const auto& capture : c.driver.captures) require(capture->graph != graph);
    for (const auto& node : graph->nodes) {
      node->after.clear();
      c.driver.forget(*node);
    }
    c.driver.forget(*graph);
  });
}

CUresult cuGraphClone(CUgraph* out, CUgraph handle) {
  return with_driver([&](ApiCall& c) {
    require(out != nullptr);
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    auto copy = c.driver.create<Graph>();
    std::map<const Node*, std::shared_ptr<Node>> twin;
    for (const auto& node : graph->nodes) twin[node.get()] = copy->add(node->work, {});
    for (const auto& node : graph->nodes)
      for (const auto& before : node->after) twin[node.get()]->after.push_back(twin[before.get()]);
    *out = handle_of<CUgraph>(*copy);
  });
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* after, size_t n,
                                 const CUDA_KERNEL_NODE_PARAMS* p) {
  return add(out, graph, after, n, [&](ApiCall& c) { return kernel(c, p); });
}
CUresult cuGraphAddMemcpyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after, size_t n,
                              const CUDA_MEMCPY3D* p, CUcontext context) {
  return add(out, graph, after, n, [&](ApiCall& c) {
    require(p != nullptr);
    context_named(c, context);
    return copy_work(c, *p);
  });
}
CUresult cuGraphAddMemsetNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after, size_t n,
                              const CUDA_MEMSET_NODE_PARAMS* p, CUcontext context) {
  return add(out, graph, after, n, [&](ApiCall& c) {
    require(p && (p->elementSize == 1 || p->elementSize == 2 || p->elementSize == 4));
    context_named(c, context);
    return fill_work(c, p->dst, p->pitch, p->value, p->elementSize, p->width, p->height);
  });
}
CUresult cuGraphAddHostNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after, size_t n,
                            const CUDA_HOST_NODE_PARAMS* p) {
  return add(out, graph, after, n, [&](ApiCall&) {
    require(p && p->fn);
    return HostWork{p->fn, p->userData};
  });
}
CUresult cuGraphAddEmptyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after, size_t n) {
  return add(out, graph, after, n, [&](ApiCall&) { return Nothing{}; });
}

CUresult cuGraphAddDependencies(CUgraph handle, const CUgraphNode* from, const CUgraphNode* to, size_t n) {
  return with_driver([&](ApiCall& c) {
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    require((from && to) || n == 0);
    for (size_t i = 0; i < n; i++) {
      const auto a = nodes_of(c, *graph, &from[i], 1)[0], b = nodes_of(c, *graph, &to[i], 1)[0];
      require(a != b && std::find(b->after.begin(), b->after.end(), a) == b->after.end());
      b->after.push_back(a);
    }
  });
}
CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edges, size_t n) {
  for (size_t i = 0; edges && i < n; i++)
    if (edges[i].from_port || edges[i].to_port || edges[i].type)
      return CUDA_ERROR_NOT_SUPPORTED;  // programmatic launches are not supported
  return cuGraphAddDependencies(graph, from, to, n);
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  return with_driver([&](ApiCall& c) {
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    list(nodes, count, graph->nodes.size(), [&](size_t i) { return handle_of<CUgraphNode>(*graph->nodes[i]); });
  });
}
CUresult cuGraphGetRootNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  return with_driver([&](ApiCall& c) {
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    Nodes roots;
    for (const auto& node : graph->nodes)
      if (node->after.empty()) roots.push_back(node);
    list(nodes, count, roots.size(), [&](size_t i) { return handle_of<CUgraphNode>(*roots[i]); });
  });
}
CUresult cuGraphGetEdges(CUgraph handle, CUgraphNode* from, CUgraphNode* to, size_t* count) {
  return with_driver([&](ApiCall& c) {
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    require(count && !from == !to);
    std::vector<std::pair<CUgraphNode, CUgraphNode>> edges;
    for (const auto& node : graph->nodes)
      for (const auto& before : node->after)
        edges.push_back({handle_of<CUgraphNode>(*before), handle_of<CUgraphNode>(*node)});
    size_t from_count = *count;
    list(from, &from_count, edges.size(), [&](size_t i) { return edges[i].first; });
    list(to, count, edges.size(), [&](size_t i) { return edges[i].second; });
  });
}
CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType* type) {
  return with_driver([&](ApiCall& c) {
    require(type != nullptr);
    *type = type_of(c.driver.get<Node>(handle, CUDA_ERROR_INVALID_VALUE)->work);
  });
}
CUresult cuGraphNodeGetDependencies(CUgraphNode handle, CUgraphNode* nodes, size_t* count) {
  return with_driver([&](ApiCall& c) {
    const auto node = c.driver.get<Node>(handle, CUDA_ERROR_INVALID_VALUE);
    list(nodes, count, node->after.size(), [&](size_t i) { return handle_of<CUgraphNode>(*node->after[i]); });
  });
}
CUresult cuGraphDestroyNode(CUgraphNode handle) {
  return with_driver([&](ApiCall& c) {
    const auto node = c.driver.get<Node>(handle, CUDA_ERROR_INVALID_VALUE);
    const auto graph = node->graph.lock();
    require(graph != nullptr);
    for (const auto& capture : c.driver.captures) require(capture->graph != graph);
    std::erase(graph->nodes, node);
    for (const auto& other : graph->nodes) std::erase(other->after, node);
    c.driver.forget(*node);
  });
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS* p) {
  return with_driver([&](ApiCall& c) {
    require(p != nullptr);
    const auto node = c.driver.get<Node>(handle, CUDA_ERROR_INVALID_VALUE);
    auto* w = std::get_if<KernelWork>(&node->work);
    require(w != nullptr);
    node->pointers.clear();
    for (const auto& parameter : w->function->routine->parameters)
      node->pointers.push_back(w->parameters.data() + parameter.offset);
    const auto& s = w->shape;
    *p = {handle_of<CUfunction>(*w->function),
          s.grid[0],
          s.grid[1],
          s.grid[2],
          s.block[0],
          s.block[1],
          s.block[2],
          s.dynamic_shared,
          node->pointers.data(),
          nullptr,
          nullptr,
          handle_of<CUcontext>(*w->module->context)};
  });
}
CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode handle, const CUDA_KERNEL_NODE_PARAMS* p) {
  return with_context([&](ApiCall& c) {
    const auto node = c.driver.get<Node>(handle, CUDA_ERROR_INVALID_VALUE);
    require(std::holds_alternative<KernelWork>(node->work));
    node->work = kernel(c, p);
  });
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph handle, unsigned long long flags) {
  return with_context([&](ApiCall& c) {
    require(out != nullptr);
    // The supported flags have no effect here. Device launches and uploads are not supported.
    require((flags & ~static_cast<unsigned long long>(CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                                                      CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY)) == 0,
            CUDA_ERROR_NOT_SUPPORTED);
    const auto graph = c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE);
    auto steps = steps_of(*graph);
    auto exec = c.driver.create<GraphExec>();
    exec->context = c.context;
    exec->steps = std::move(steps);
    *out = handle_of<CUgraphExec>(*exec);
  });
}
CUresult cuGraphUpload(CUgraphExec handle, CUstream stream) {
  return with_context([&](ApiCall& c) {
    c.driver.get<GraphExec>(handle, CUDA_ERROR_INVALID_VALUE);
    stream_of(c, stream);
  });
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  return with_context([&](ApiCall& c) {
    const auto exec = c.driver.get<GraphExec>(handle, CUDA_ERROR_INVALID_VALUE);
    const auto stream = stream_of(c, stream_handle);
    if (stream->capture) {
      invalidate(*stream->capture);
      fail(CUDA_ERROR_NOT_SUPPORTED, "child graph nodes");
    }
    // Runs after the preceding work of the stream and after the graph's previous launch.
    const auto front = enqueue(c, stream, Nothing{}, {exec->last});
    std::vector<std::shared_ptr<Job>> jobs;
    for (const auto& step : exec->steps) {
      auto job = std::make_shared<Job>();
      job->context = exec->context;
      job->work = step.work;
      job->after = {front};
      for (const size_t before : step.after) job->after.push_back(jobs[before]);
      jobs.push_back(job);
      c.driver.submit(job);
    }
    exec->last = enqueue(c, stream, Nothing{}, jobs);
  });
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec_handle, CUgraph handle, CUgraphExecUpdateResultInfo* info) {
  return with_context([&](ApiCall& c) {
    require(info != nullptr);
    *info = {CU_GRAPH_EXEC_UPDATE_ERROR, nullptr, nullptr};
    const auto exec = c.driver.get<GraphExec>(exec_handle, CUDA_ERROR_INVALID_VALUE);
    const auto steps = steps_of(*c.driver.get<Graph>(handle, CUDA_ERROR_INVALID_VALUE));
    auto refuse = [&](CUgraphExecUpdateResult why, uint64_t node) {
      *info = {why, reinterpret_cast<CUgraphNode>(node), nullptr};
      fail(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    };
    if (steps.size() != exec->steps.size()) refuse(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, 0);
    for (size_t i = 0; i < steps.size(); i++) {
      if (steps[i].after != exec->steps[i].after) refuse(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, steps[i].node);
      if (const auto why = obstacle(exec->steps[i].work, steps[i].work)) refuse(why, steps[i].node);
    }
    for (size_t i = 0; i < steps.size(); i++) exec->steps[i].work = steps[i].work;
    info->result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
  });
}
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec_handle, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS* p) {
  return with_context([&](ApiCall& c) {
    const auto exec = c.driver.get<GraphExec>(exec_handle, CUDA_ERROR_INVALID_VALUE);
    for (auto& step : exec->steps) {
      if (step.node != reinterpret_cast<uint64_t>(node)) continue;
      Work work = kernel(c, p);
      require(obstacle(step.work, work) == CU_GRAPH_EXEC_UPDATE_SUCCESS);
      step.work = std::move(work);
      return;
    }
    fail(CUDA_ERROR_INVALID_VALUE);
  });
}
CUresult cuGraphExecDestroy(CUgraphExec handle) {
  return with_driver([&](ApiCall& c) { c.driver.forget(*c.driver.get<GraphExec>(handle, CUDA_ERROR_INVALID_VALUE)); });
}
