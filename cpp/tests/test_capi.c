/* The C interface, from C: answers, refusals, and nothing left behind. argv: BUNDLE IMAGE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sacvit/sacvit.h"

static int failures = 0, passes = 0;

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (condition) {                                                                              \
            ++passes;                                                                                 \
        } else {                                                                                      \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, sacvit_last_error()); \
            ++failures;                                                                               \
        }                                                                                             \
    } while (0)

static void test_refusals(const sacvit_model* model, const char* image) {
    sacvit_prediction* prediction = (sacvit_prediction*)1;
    sacvit_source source;
    static const unsigned char text[] = "no image";
    memset(&source, 0, sizeof source);
    CHECK(sacvit_predict(model, &source, -1, -1, &prediction) == SACVIT_ERROR_USAGE && prediction == NULL);
    CHECK(sacvit_predict(NULL, &source, -1, -1, &prediction) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_predict(model, NULL, -1, -1, &prediction) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_predict(model, &source, -1, -1, NULL) == SACVIT_ERROR_USAGE);
    source.data = text;
    source.size = sizeof text;
    CHECK(sacvit_predict(model, &source, -1, -1, &prediction) == SACVIT_ERROR_IMAGE);
    CHECK(strstr(sacvit_last_error(), "is not an image in a supported format") != NULL);
    source.width = 100; /* pixels now, but rows too short */
    source.height = 1;
    source.pitch = 3;
    CHECK(sacvit_predict(model, &source, -1, -1, &prediction) == SACVIT_ERROR_USAGE);
    source.format = 77;
    CHECK(sacvit_predict(model, &source, -1, -1, &prediction) == SACVIT_ERROR_USAGE);
    source.path = image;
    CHECK(sacvit_predict(model, &source, 1.5, -1, &prediction) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_predict(model, &source, -1, 1, &prediction) == SACVIT_ERROR_USAGE);
    source.path = "none.jpg";
    CHECK(sacvit_predict(model, &source, -1, -1, &prediction) == SACVIT_ERROR_IMAGE);
    CHECK(strcmp(sacvit_last_error(), "none.jpg does not exist") == 0);
}

static void test_opening(const char* bundle) {
    sacvit_model* model = (sacvit_model*)1;
    sacvit_options options;
    memset(&options, 0, sizeof options);
    CHECK(sacvit_open("none.sacvit", NULL, &model) == SACVIT_ERROR_BUNDLE && model == NULL);
    CHECK(sacvit_open(NULL, NULL, &model) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_open(bundle, NULL, NULL) == SACVIT_ERROR_USAGE);
    options.device = "nonsense";
    CHECK(sacvit_open(bundle, &options, &model) == SACVIT_ERROR_BACKEND);
    CHECK(strstr(sacvit_last_error(), "has no provider nonsense; it offers ") != NULL);
    options.device = NULL;
    options.precision = "fp64";
    CHECK(sacvit_open(bundle, &options, &model) == SACVIT_ERROR_USAGE);
    options.precision = NULL;
    options.threads = -1;
    CHECK(sacvit_open(bundle, &options, &model) == SACVIT_ERROR_USAGE);
    options.threads = 1;
    options.max_memory = -1;
    CHECK(sacvit_open(bundle, &options, &model) == SACVIT_ERROR_USAGE);
    options.max_memory = 0;
    options.library = "/nowhere/libonnxruntime.so";
    CHECK(sacvit_open(bundle, &options, &model) == SACVIT_ERROR_BACKEND && model == NULL);
}

static void test_answers(const sacvit_model* model, const char* image) {
    sacvit_source sources[3];
    sacvit_status statuses[3];
    sacvit_prediction *one = NULL, *batch[3];
    const float* probabilities;
    const uint8_t* mask;
    size_t count = 0, i;
    int grid = 0, sum = 0;
    memset(sources, 0, sizeof sources);
    sources[0].path = sources[2].path = image;
    sources[1].path = "none.jpg";
    CHECK(sacvit_predict(model, &sources[0], 1, 0.5, &one) == SACVIT_OK);
    if (one == NULL) {
        return;
    }
    CHECK(sacvit_prediction_stage(one) == 2);
    probabilities = sacvit_prediction_probabilities(one, &count);
    CHECK(count == sacvit_class_count(model));
    for (i = 0; i < count; ++i) {
        CHECK(probabilities[i] <= probabilities[sacvit_prediction_index(one)]);
    }
    CHECK(strcmp(sacvit_prediction_label(one), sacvit_class_label(model, (size_t)sacvit_prediction_index(one))) == 0);
    CHECK(sacvit_class_label(model, count) == NULL);
    mask = sacvit_prediction_target_mask(one, &grid);
    for (i = 0; i < (size_t)(grid * grid); ++i) {
        sum += mask[i];
    }
    CHECK(sum == grid * grid / 2);
    CHECK(sacvit_prediction_stage_one_probability(one) > 0);
    CHECK(strstr(sacvit_prediction_json(one), "\"stage\": 2") != NULL);
    CHECK(sacvit_predict_batch(model, sources, 3, 0, -1, statuses, batch) == SACVIT_OK);
    CHECK(statuses[0] == SACVIT_OK && statuses[1] == SACVIT_ERROR_IMAGE && statuses[2] == SACVIT_OK);
    CHECK(batch[1] == NULL && sacvit_prediction_stage(batch[0]) == 1);
    CHECK(sacvit_prediction_target_mask(batch[0], NULL) == NULL);
    for (i = 0; i < 3; ++i) {
        sacvit_prediction_free(batch[i]);
    }
    /* One source of nothing, of whatever kind, doesn't cost the others their answers. */
    for (i = 0; i < 4; ++i) {
        memset(&sources[1], 0, sizeof sources[1]);
        sources[1].size = i == 1 ? 5 : 0;
        sources[1].width = sources[1].height = i == 2 ? 5 : 0;
        sources[1].path = i == 3 ? "" : NULL;
        CHECK(sacvit_predict_batch(model, sources, 3, 0, -1, statuses, batch) == SACVIT_OK);
        CHECK(statuses[0] == SACVIT_OK && batch[0] != NULL && statuses[2] == SACVIT_OK && batch[2] != NULL);
        CHECK(statuses[1] == (i == 3 ? SACVIT_ERROR_IMAGE : SACVIT_ERROR_USAGE) && batch[1] == NULL);
        sacvit_prediction_free(batch[0]);
        sacvit_prediction_free(batch[2]);
    }
    CHECK(sacvit_predict_batch(model, sources, 3, 7, -1, statuses, batch) == SACVIT_ERROR_USAGE);
    CHECK(statuses[2] == SACVIT_ERROR_USAGE && batch[2] == NULL);
    CHECK(sacvit_predict_batch(model, NULL, 0, -1, -1, statuses, batch) == SACVIT_OK);
    sacvit_prediction_free(one);
}

/* Luma of the full range with chroma of no colour is grey, with planes behind each other and apart. */
static void test_camera_formats(const sacvit_model* model) {
    static unsigned char pixels[64 * 48 * 3 / 2], chroma[64 * 48 / 2];
    sacvit_source sources[4];
    sacvit_status statuses[4];
    sacvit_prediction* out[4];
    int i;
    memset(sources, 0, sizeof sources);
    for (i = 0; i < 64 * 48; ++i) {
        pixels[i] = (unsigned char)(i * 7 % 251);
    }
    memset(pixels + 64 * 48, 128, 64 * 48 / 2);
    memset(chroma, 128, sizeof chroma);
    for (i = 0; i < 4; ++i) {
        sources[i].data = pixels;
        sources[i].width = 64;
        sources[i].pitch = 64;
        sources[i].height = 48;
        sources[i].colors = i % 2 ? SACVIT_BT709_FULL : SACVIT_BT601_FULL;
    }
    sources[0].format = SACVIT_GRAY;
    sources[1].format = SACVIT_NV12;
    sources[2].format = SACVIT_I420;
    sources[3].format = SACVIT_NV12;
    sources[3].u = chroma;
    CHECK(sacvit_predict_batch(model, sources, 4, 1, -1, statuses, out) == SACVIT_OK);
    for (i = 0; i < 4; ++i) {
        CHECK(statuses[i] == SACVIT_OK && sacvit_prediction_index(out[i]) == sacvit_prediction_index(out[0]));
    }
    for (i = 0; i < 4; ++i) {
        sacvit_prediction_free(out[i]);
    }
    sources[1].colors = 4;
    CHECK(sacvit_predict(model, &sources[1], 1, -1, &out[1]) == SACVIT_ERROR_USAGE && out[1] == NULL);
}

/* NULL in place of every pointer: an error, or nothing, and no crash. */
static void test_null(const sacvit_model* model, const char* image) {
    sacvit_source source;
    sacvit_status status = SACVIT_OK;
    sacvit_prediction* prediction = NULL;
    size_t count = 7;
    int grid = 7;
    memset(&source, 0, sizeof source);
    source.path = image;
    CHECK(sacvit_open(NULL, NULL, NULL) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_reload(NULL) == SACVIT_ERROR_USAGE && strcmp(sacvit_last_error(), "model is NULL") == 0);
    CHECK(sacvit_predict(NULL, NULL, -1, -1, NULL) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_predict_batch(NULL, &source, 1, -1, -1, &status, &prediction) == SACVIT_ERROR_USAGE);
    CHECK(status == SACVIT_ERROR_USAGE && prediction == NULL);
    CHECK(sacvit_predict_batch(model, NULL, 1, -1, -1, &status, &prediction) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_predict_batch(model, &source, 1, -1, -1, NULL, &prediction) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_predict_batch(model, &source, 1, -1, -1, &status, NULL) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_predict_batch(NULL, NULL, 0, -1, -1, NULL, NULL) == SACVIT_ERROR_USAGE);
    CHECK(sacvit_prediction_stage(NULL) == 0);
    CHECK(sacvit_prediction_index(NULL) == 0);
    CHECK(sacvit_prediction_label(NULL) == NULL);
    CHECK(sacvit_prediction_stage_one_probability(NULL) == 0);
    CHECK(sacvit_prediction_probabilities(NULL, &count) == NULL && count == 0);
    CHECK(sacvit_prediction_probabilities(NULL, NULL) == NULL);
    CHECK(sacvit_prediction_target_mask(NULL, &grid) == NULL && grid == 0);
    CHECK(sacvit_prediction_target_mask(NULL, NULL) == NULL);
    CHECK(sacvit_prediction_json(NULL) == NULL);
    CHECK(sacvit_class_count(NULL) == 0);
    CHECK(sacvit_class_label(NULL, 0) == NULL);
    CHECK(sacvit_description(NULL) == NULL);
    sacvit_close(NULL);
    sacvit_prediction_free(NULL);
}

static void test_reload(sacvit_model* model) {
    const char* label = sacvit_class_label(model, 0);
    const char* description = sacvit_description(model);
    CHECK(sacvit_reload(model) == SACVIT_OK);
    CHECK(sacvit_class_label(model, 0) == label && sacvit_description(model) == description); /* nothing changed */
}

int main(int argc, char** argv) {
    sacvit_model* model = NULL;
    if (argc != 3) {
        return 2;
    }
    test_opening(argv[1]);
    CHECK(sacvit_open(argv[1], NULL, &model) == SACVIT_OK);
    if (model != NULL) {
        CHECK(strstr(sacvit_description(model), "ONNX Runtime 1.") != NULL);
        test_refusals(model, argv[2]);
        test_null(model, argv[2]);
        test_reload(model);
        test_answers(model, argv[2]);
        test_camera_formats(model);
    }
    sacvit_close(model);
    printf("%d checks passed, %d failed; sacvit %s\n", passes, failures, sacvit_version());
    return failures != 0 || passes == 0;
}
