// An addon of another author, which hands out native objects: one without a type tag, and one with a tag of its own.
// Node-API is stable, so the few declarations need none of its headers.
#include <cstdint>

extern "C" {

typedef struct napi_env__* napi_env;
typedef struct napi_value__* napi_value;
struct napi_type_tag {
  uint64_t lower, upper;
};
int napi_create_external(napi_env, void* data, void (*finalize)(napi_env, void*, void*), void* hint, napi_value*);
int napi_type_tag_object(napi_env, napi_value, const napi_type_tag*);
int napi_set_named_property(napi_env, napi_value object, const char* name, napi_value value);

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  static uint64_t bytes[8];
  const napi_type_tag tag{0x6f74686572000001, 0x6f74686572000002};
  napi_value untagged, tagged;
  napi_create_external(env, bytes, nullptr, nullptr, &untagged);
  napi_create_external(env, bytes, nullptr, nullptr, &tagged);
  napi_type_tag_object(env, tagged, &tag);
  napi_set_named_property(env, exports, "untagged", untagged);
  napi_set_named_property(env, exports, "tagged", tagged);
  return exports;
}
}
