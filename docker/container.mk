# The study in its image (docs/container.md): `make image` builds it, `make shell` opens it, DOCKER=1 makes any other
# target inside. The checkout takes the place of the image's own code, so that results lie where they always lie.
#     make demo DOCKER=1        make all DOCKER=1 GPUS=all        make figures DOCKER=1 ENGINE=podman
# ENGINE=apptainer takes the image as one file, SIF. `make image ENGINE=apptainer` makes it from SIF_FROM, which is the
# image of a Docker daemon, or a file that `docker save` or `podman save` wrote: docker-archive:FILE.

ENGINE      ?= docker
IMAGE       ?= pose_topo
SIF         ?= $(IMAGE).sif
SIF_FROM    ?= docker-daemon:$(IMAGE):latest
GPUS        ?=
NETWORK     ?=
PIP_CONF    ?=
BASE        ?=
IN_IMAGE    := /opt/pose_topo
# none of these means anything inside
OUTSIDERS   := DOCKER ENGINE IMAGE SIF SIF_FROM GPUS NETWORK PIP_CONF BASE PYTHON TORCH VENV

PODMAN    := $(filter podman,$(notdir $(firstword $(ENGINE))))
APPTAINER := $(filter apptainer,$(notdir $(firstword $(ENGINE))))
# rootless podman maps the caller to root inside unless told to keep the uid; SELinux would hide the checkout
PODMAN_RUN = $(if $(PODMAN),$(if $(filter-out 0,$(shell id -u)),--userns=keep-id) --security-opt label=disable)
GPU_RUN = $(if $(GPUS),$(if $(PODMAN),--device nvidia.com/gpu=$(GPUS),--gpus $(GPUS)))
# only what downloads gets a network
NETWORK_RUN = --network=$(or $(NETWORK),$(if $(filter download lock,$1),bridge,none))
# Apptainer: every user may ask for `none`, which has the loopback only. Other networks need an administrator, so that
# what downloads gets the machine's own network.
NETWORK_SIF = $(if $(or $(NETWORK),$(filter download lock,$1)),,--net --network none)
# its environment is cleaned; GPUS=0,1 names GPUs, and GPUS=all means those that the job was given
VISIBLE_SIF = $(addprefix APPTAINERENV_CUDA_VISIBLE_DEVICES=,$(and $(GPUS),$(GPUS_SIF)))
GPUS_SIF = $(or $(filter-out all,$(GPUS)),$(CUDA_VISIBLE_DEVICES))
# data, results and caches outside the checkout (also by a link in it) keep their absolute places
PLACES = $(DATA) $(OUT) $(RUNS) $(CACHE) $(CHECKPOINTS)
UNREACHED = $(filter ../%,$(PLACES))
PLACES_RUN = $(if $(UNREACHED),$(error DOCKER=1 takes absolute paths outside the checkout, not $(UNREACHED)))$(shell \
    for place in $(PLACES); do place=$$(readlink -f "$$place"); case $$place in ("" | "$$(readlink -f .)"/*) ;; \
    (*) echo "--mount type=bind,source=$$place,target=$$place" ;; esac; done | sort -u)
# settings from the environment and from the command line, as they were given
ENVIRONMENT := $(foreach v,$(filter-out $(OUTSIDERS),$(SETTINGS)),$(if $(filter environment,$(origin $v)),$v))
GIVEN = $(filter-out $(OUTSIDERS:%=%=%),$(MAKEOVERRIDES))

# $1: the target; $2: further options of the engine. The processes of a training on several GPUs find each other by the
# host's name, and without a network only `localhost` has an address.
in_image = $(if $(APPTAINER),$(in_sif),$(in_container))
BOUND = --mount "type=bind,source=$(CURDIR),target=$(IN_IMAGE)" $(PLACES_RUN) --env POSE_TOPO_CACHE=$(IN_IMAGE)/cache
in_container = $(strip $(ENGINE) run --rm --init $(NETWORK_RUN) --hostname localhost --ipc=host \
    --user "$$(id -u):$$(id -g)" $(PODMAN_RUN) $(GPU_RUN) $2 \
    $(BOUND) $(ENVIRONMENT:%=--env %)) $(IMAGE)
# The caller's uid and a read-only image are Apptainer's own way. Home and /tmp lie in cache/apptainer, because otherwise
# Apptainer keeps both in 64 MB of memory. `exec` knows no entry point, so that `enter` is named.
in_sif = mkdir -p cache/apptainer/home && $(strip $(foreach v,$(ENVIRONMENT),APPTAINERENV_$v="$$$v") $(VISIBLE_SIF) \
    $(ENGINE) exec --containall $(NETWORK_SIF) --hostname localhost $(if $(GPUS),--nv) \
    --workdir cache/apptainer --home "$(CURDIR)/cache/apptainer/home:/home/pose" --pwd $(IN_IMAGE) \
    $(BOUND)) $(SIF) enter

# the commit, or what an archive says it was
REVISION = git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || cat REVISION 2>/dev/null

.PHONY: image shell release

image: ## build the container image (ENGINE=podman or apptainer; PIP_CONF=/etc/pip.conf if pip needs one)
ifneq ($(APPTAINER),)
	$(ENGINE) build --force $(SIF).unfinished $(SIF_FROM) && mv $(SIF).unfinished $(SIF)
else
	$(ENGINE) build --tag $(IMAGE) --file docker/Dockerfile $(if $(PODMAN),--format docker) \
	    --build-arg REVISION="$$($(REVISION))" \
	    $(BASE:%=--build-arg BASE=%) $(PIP_CONF:%=--secret id=pip.conf,src=%) .
endif

shell: ## a shell in the image (GPUS=all; NETWORK=bridge)
	$(call in_image,shell,--interactive --tty) bash

ifeq ($(DOCKER),1)
$(if $(LAUNCH),$(error DOCKER=1 takes no LAUNCH: docs/cluster.md says how a cluster runs the image))
GOALS := $(filter-out image shell,$(or $(MAKECMDGOALS),help))
.PHONY: $(GOALS)
$(GOALS):
	$(call in_image,$@) make $@ $(GIVEN)
else
release: setup ## dist/pose_topo-VERSION, to be deposited: code, results, SBOM, and the networks of RUNS with cards
	@$(BIN)/python tools/release.py dist --runs $(RUNS) --results $(OUT)
endif
