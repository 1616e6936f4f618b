# The study in its image (docs/container.md): `make image` builds it, `make shell` opens it, DOCKER=1 makes any other
# target inside. The checkout takes the place of the image's own code, so that results lie where they always lie.
#     make demo DOCKER=1        make all DOCKER=1 GPUS=all        make figures DOCKER=1 ENGINE=podman

ENGINE      ?= docker
IMAGE       ?= pose_topo
GPUS        ?=
NETWORK     ?=
PIP_CONF    ?=
BASE        ?=
KEEP        ?=
IN_IMAGE    := /opt/pose_topo
# none of these means anything inside
OUTSIDERS   := DOCKER ENGINE IMAGE GPUS NETWORK PIP_CONF BASE KEEP PYTHON TORCH VENV

PODMAN := $(filter podman,$(notdir $(firstword $(ENGINE))))
# rootless podman maps the caller to root inside unless told to keep the uid; SELinux would hide the checkout
PODMAN_RUN = $(if $(PODMAN),$(if $(filter-out 0,$(shell id -u)),--userns=keep-id) --security-opt label=disable)
GPU_RUN = $(if $(GPUS),$(if $(PODMAN),--device nvidia.com/gpu=$(GPUS),--gpus $(GPUS)))
# only what downloads gets a network
NETWORK_RUN = --network=$(or $(NETWORK),$(if $(filter download lock,$1),bridge,none))
# data, results and caches outside the checkout (also by a link in it) keep their absolute places
PLACES = $(DATA) $(OUT) $(RUNS) $(CACHE) $(CHECKPOINTS)
UNREACHED = $(filter ../%,$(PLACES))
PLACES_RUN = $(if $(UNREACHED),$(error DOCKER=1 takes absolute paths outside the checkout, not $(UNREACHED)))$(shell \
    for place in $(PLACES); do place=$$(readlink -f "$$place"); case $$place in ("" | "$$(readlink -f .)"/*) ;; \
    (*) echo "--mount type=bind,source=$$place,target=$$place" ;; esac; done | sort -u)
# settings from the environment and from the command line, as they were given
ENVIRONMENT := $(foreach v,$(filter-out $(OUTSIDERS),$(SETTINGS)),$(if $(filter environment,$(origin $v)),--env $v))
GIVEN = $(filter-out $(OUTSIDERS:%=%=%),$(MAKEOVERRIDES))

# $1: the target; $2: further options of the engine. The processes of a training on several GPUs find each other by the
# host's name, and without a network only `localhost` has an address.
in_image = $(strip $(ENGINE) run --rm --init $(NETWORK_RUN) --hostname localhost --ipc=host \
    --user "$$(id -u):$$(id -g)" $(PODMAN_RUN) $(GPU_RUN) $2 \
    --mount "type=bind,source=$(CURDIR),target=$(IN_IMAGE)" $(PLACES_RUN) \
    --env POSE_TOPO_CACHE=$(IN_IMAGE)/cache $(ENVIRONMENT)) $(IMAGE)

# the commit, or what an archive says it was
REVISION = git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || cat REVISION 2>/dev/null

.PHONY: image shell archive

image: ## build the container image (ENGINE=podman, PIP_CONF=/etc/pip.conf if pip needs one)
	$(ENGINE) build --tag $(IMAGE) --file docker/Dockerfile $(if $(PODMAN),--format docker) \
	    --build-arg REVISION="$$($(REVISION))" \
	    $(BASE:%=--build-arg BASE=%) $(PIP_CONF:%=--secret id=pip.conf,src=%) .

shell: ## a shell in the image (GPUS=all; NETWORK=bridge)
	$(call in_image,shell,--interactive --tty) bash

archive: ## dist/pose_topo-VERSION.tar.gz: code, lock, reference results (KEEP=a list of files: those, too)
	@$(PYTHON) tools/archive.py dist $(KEEP)

ifeq ($(DOCKER),1)
$(if $(LAUNCH),$(error DOCKER=1 takes no LAUNCH: docs/cluster.md says how a cluster runs the image))
GOALS := $(filter-out image shell archive,$(or $(MAKECMDGOALS),help))
.PHONY: $(GOALS)
$(GOALS):
	$(call in_image,$@) make $@ $(GIVEN)
endif
