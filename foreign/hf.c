/* A directory as transformers reads it: config.json, model.safetensors, the tokenizer's files, and for models that only
 * we have modeling_mhmoe.py. See export.h. */
#include <stdlib.h>
#include <string.h>
#include "export.h"
#include "hf_tokenizer.h"
#include "modeling.h"

/* ---- config.json ---- */

static void set(json_t *o, const char *key, json_t *value) { json_object_set_new(o, key, value); }
static void set_size(json_t *o, const char *key, size_t value) { set(o, key, json_integer((json_int_t)value)); }

/* GPT-2 has names of its own for what everybody has. */
static void gpt2_config(json_t *o, const struct sizes *s) {
    set(o, "model_type", json_string("gpt2"));
    set_size(o, "n_positions", s->T);
    set_size(o, "n_embd", s->C);
    set_size(o, "n_layer", s->L);
    set_size(o, "n_head", s->NH);
    set_size(o, "n_inner", s->Fd);
    set(o, "activation_function", json_string("gelu_new"));
    set(o, "layer_norm_epsilon", json_real(1e-5));
    set(o, "tie_word_embeddings", json_boolean(!s->untied));
    static const char *const dropouts[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop"};
    for (size_t i = 0; i < sizeof dropouts / sizeof *dropouts; i++) set(o, dropouts[i], json_real(0));
}

static void common_config(json_t *o, const struct sizes *s) {
    set_size(o, "hidden_size", s->C);
    set_size(o, "num_hidden_layers", s->L);
    set_size(o, "num_attention_heads", s->NH);
    set_size(o, "max_position_embeddings", s->T);
}

static void llama_config(json_t *o, const struct sizes *s) {
    const bool experts = s->LM > 0;
    set(o, "model_type", json_string(experts ? "mixtral" : "llama"));
    common_config(o, s);
    set_size(o, "intermediate_size", experts ? s->F : s->Fd);
    set_size(o, "num_key_value_heads", s->NH);
    set_size(o, "head_dim", s->C / s->NH);
    set(o, "hidden_act", json_string("silu"));
    set(o, "rms_norm_eps", json_real(1e-5));
    set(o, "rope_theta", json_real(10000));
    set(o, "attention_dropout", json_real(0));
    set(o, "tie_word_embeddings", json_boolean(!s->untied));
    if (experts) {
        set_size(o, "num_local_experts", s->E);
        set_size(o, "num_experts_per_tok", s->K);
        set(o, "router_jitter_noise", json_real(0));
        set(o, "sliding_window", json_null());
        return;
    }
    set(o, "attention_bias", json_boolean(s->bias));
    set(o, "mlp_bias", json_boolean(s->bias));
}

/* Our options as they are, with the sizes that follow from them. `tie` is not transformers' business: there is no
 * second tensor that it would have to tie. */
static void own_config(json_t *o, const struct export *e) {
    const struct option_group group = {model_options, (void *)e->config};
    json_t *options = options_to_json(&group), *value;
    const char *key;
    json_object_foreach(options, key, value) {
        char *name = string_format("%s", key);
        for (char *dash; (dash = strchr(name, '-'));) *dash = '_';
        json_object_set(o, name, value);
        free(name);
    }
    json_decref(options);
    static const char *const said[] = {"task", "size", "patch", "codes", "vocab", "seq", "layers", "channels",
                                       "attn_heads", "zero_start", "documents"}; /* otherwise, or of no use there */
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) json_object_del(o, said[i]);
    set(o, "model_type", json_string("mhmoe"));
    common_config(o, e->sizes);
    set_size(o, "expert_hidden", e->sizes->F);
    set_size(o, "dense_hidden", e->sizes->Fd);
    set(o, "tie_word_embeddings", json_false());
    set(o, "auto_map", json_pack("{s:s, s:s}", "AutoConfig", "modeling_mhmoe.MhmoeConfig", "AutoModelForCausalLM",
                                 "modeling_mhmoe.MhmoeForCausalLM"));
}

/* A text begins behind an end of text, if it begins behind anything. */
static json_t *config_make(const struct export *e) {
    json_t *o = json_object();
    const int32_t end = tokenizer_end_of_text(e->tokenizer);
    set(o, "architectures", json_pack("[s]", e->foreign ? e->foreign->architecture : "MhmoeForCausalLM"));
    if (!e->foreign) own_config(o, e);
    else if (e->foreign == &foreigns[FOREIGN_GPT2]) gpt2_config(o, e->sizes);
    else llama_config(o, e->sizes);
    set_size(o, "vocab_size", e->sizes->V);
    set(o, "bos_token_id", json_integer(end));
    set(o, "eos_token_id", json_integer(end));
    set(o, "torch_dtype", json_string(e->dtype == DTYPE_BF16 ? "bfloat16" : "float32"));
    set(o, "use_cache", json_boolean(e->foreign));
    return o;
}

/* ---- Files ---- */

static bool weights_write(const struct export *e, const char *dir, struct error *err) {
    struct tensor_list list = tensors_rename(e, e->foreign ? e->foreign->hf : own_renaming, true);
    json_t *metadata = json_pack("{s:s}", "format", "pt"); /* transformers asks for it */
    char *path = string_format("%s/model.safetensors", dir);
    const bool ok = checkpoint_write(path, list.tensors, list.n, metadata, err);
    free(path);
    json_decref(metadata);
    tensors_free(&list);
    return ok;
}

bool hf_write(const struct export *e, const char *dir, struct error *err) {
    return directory_make(dir, err) && weights_write(e, dir, err) && hf_tokenizer_write(e, dir, err) &&
           (e->foreign ||
            hf_file_write(dir, "modeling_mhmoe.py", modeling_mhmoe, strlen(modeling_mhmoe), err)) &&
           hf_json_write(dir, "config.json", config_make(e), err);
}
