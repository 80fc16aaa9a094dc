import { nearestNames, suggestion, UserError } from '../../../isa/user-error.ts'
import { type KernelProfile, kernelProfile } from '../../../profiles/index.ts'
import { HOST_GOES_ON, type HostModel, type Invariant } from '../host-system.ts'
import { permission, permissionVariants } from './permission.ts'
import { splitLock } from './split-lock.ts'
import { splitLockVariants } from './split-lock-variants.ts'
import { hostXfdWrite, kernelFpu, reallocation, sharedVcpu, xstate } from './xstate.ts'
import { kernelFpuVariants, reallocationVariants, sharedVcpuVariants, xstateVariants } from './xstate-variants.ts'

/** A mistake that can be put back into a scenario's good code. */
export interface VariantFacts {
  readonly name: string
  readonly mistake: string
  readonly source: string
  /** The mistake is one of this design: it is built with this profile unless another is asked for. */
  readonly kernel?: string
  /** Preemptions that it takes, where they are more than the scenario's own bound. */
  readonly bound?: number
}

/** A model that ships: what runs, what must hold, and the mistakes it is known to find. */
export interface Scenario {
  readonly name: string
  /** One line for `--list`. */
  readonly title: string
  /** Kernel profile it is about. */
  readonly kernel: string
  /** What a kernel must have for it to run. */
  readonly needs: keyof typeof NEEDS
  /** Preemptions up to which `explore` looks unless told otherwise. */
  readonly bound: number
  /** Whether the good code is expected to hold under `kernel`: where a recorded kernel does not, the scenario shows that. */
  readonly holds: boolean
  readonly variants: readonly VariantFacts[]
  readonly build: (options: BuildOptions) => HostModel
}

export interface BuildOptions {
  readonly kernel: string
  readonly decoder: WebAssembly.Module
  readonly variant?: string
}

const PROPOSAL = 'proposal:sld-virt-v8'

const NEEDS = {
  'split-lock detection in guests': {
    isIn: ({ splitLock }: KernelProfile) => splitLock.guestVirtualization !== 'none',
    because: 'its guests use split-lock detection, which this kernel does not give them (SLD-36)',
    instead: PROPOSAL,
  },
  'guest permission': {
    isIn: ({ permissions }: KernelProfile) => permissions.guestPermSupported,
    because: 'it uses AMX in guests, for which this kernel has no permission to ask for (ARCH_REQ_XCOMP_GUEST_PERM is EINVAL)',
    instead: 'linux-6.12',
  },
} as const

/** Picks a variant by name and builds with it. */
function withVariant<V extends VariantFacts>(
  variants: readonly V[],
  build: (options: { kernel: string; decoder: WebAssembly.Module; variant?: V }) => HostModel,
): Scenario['build'] {
  return ({ kernel, decoder, variant: name }) => {
    const variant = variants.find((v) => v.name === name)
    return build(variant === undefined ? { kernel, decoder } : { kernel, decoder, variant })
  }
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'split-lock',
    title: 'two vCPUs with split-lock detection of their own and a task, under the proposed virtualization',
    kernel: PROPOSAL,
    needs: 'split-lock detection in guests',
    bound: 2,
    holds: true,
    variants: splitLockVariants,
    build: withVariant(splitLockVariants, splitLock),
  },
  {
    name: 'xstate',
    title: 'two AMX guests and an AMX program: registers, owners, IA32_XFD and XFD_ERR over switches and migration',
    kernel: 'linux-6.12',
    needs: 'guest permission',
    bound: 1,
    holds: true,
    variants: xstateVariants,
    build: withVariant(xstateVariants, xstate),
  },
  {
    name: 'host-xfd-write',
    title: 'KVM_SET_MSRS of IA32_XFD over live tile data, then KVM_RUN: the recorded oops of 6.12',
    kernel: 'linux-6.12',
    needs: 'guest permission',
    bound: 0,
    holds: false,
    variants: [],
    build: withVariant([], hostXfdWrite),
  },
  {
    name: 'kernel-fpu',
    title: 'two AMX guests and an AMX program, and an interrupt anywhere whose handler uses vector registers',
    kernel: 'linux-6.12',
    needs: 'guest permission',
    bound: 1,
    holds: true,
    variants: kernelFpuVariants,
    build: withVariant(kernelFpuVariants, kernelFpu),
  },
  {
    name: 'reallocation',
    title: 'room for tile data is made when VMM or guest asks for it, inline',
    kernel: 'proposal:fpu-realloc-inline',
    needs: 'guest permission',
    bound: 1,
    holds: true,
    variants: reallocationVariants,
    build: withVariant(reallocationVariants, reallocation),
  },
  {
    name: 'shared-vcpu',
    title: 'two threads of a VMM use one vCPU, another thread runs a second one',
    kernel: 'linux-6.12',
    needs: 'guest permission',
    bound: 1,
    holds: true,
    variants: sharedVcpuVariants,
    build: withVariant(sharedVcpuVariants, sharedVcpu),
  },
  {
    name: 'permission',
    title: 'a thread asks for guest permission while two others create vCPUs',
    kernel: 'linux-6.12',
    needs: 'guest permission',
    bound: 2,
    holds: true,
    variants: permissionVariants,
    build: withVariant(permissionVariants, permission),
  },
]

function unknown(kind: string, name: string, names: readonly string[], where: string): UserError {
  const nearest = nearestNames(name, names)
  return new UserError({
    code: `unknown-${kind}`,
    what: `unknown ${kind} '${name}'`,
    where,
    because: `no such ${kind}`,
    fix: suggestion(nearest, names.length === 0 ? 'there are none' : `known: ${names.join(', ')}`),
    nearest,
  })
}

/** The scenario called `name`. @throws UserError with the nearest names */
export function scenarioByName(name: string): Scenario {
  const scenario = scenarios.find((s) => s.name === name)
  if (scenario === undefined)
    throw unknown(
      'scenario',
      name,
      scenarios.map((s) => s.name),
      'explore',
    )
  return scenario
}

/** The invariants with these names among a scenario's. @throws UserError with the nearest names */
function pick(invariants: readonly Invariant[], ids: readonly string[], scenario: string): Invariant[] {
  const known = invariants.map(({ id }) => id)
  const missing = ids.find((id) => !known.includes(id))
  if (missing !== undefined) throw unknown('invariant', missing, known, `explore ${scenario} --invariant`)
  return invariants.filter(({ id }) => ids.includes(id))
}

/** The profile a scenario, or a mistake in it, is built with where no other is asked for. */
export function defaultKernel({ kernel, variants }: Scenario, variant: string | null | undefined): string {
  return variants.find(({ name }) => name === variant)?.kernel ?? kernel
}

/** Preemptions up to which a scenario, or a mistake in it, is searched where nothing else is asked for. */
export function defaultBound({ bound, variants }: Scenario, variant: string | null | undefined): number {
  return Math.max(bound, variants.find(({ name }) => name === variant)?.bound ?? 0)
}

/**
 * Builds a scenario's model.
 * @param kernel profile; default the scenario's own.
 * @param invariants names of those to be checked; default all
 * @throws UserError for an unknown variant, invariant or profile, or one that the scenario cannot use
 */
export function buildScenario(
  scenario: Scenario,
  options: { kernel?: string; variant?: string; invariants?: readonly string[] | null; decoder: WebAssembly.Module },
): HostModel {
  const { variant, decoder, invariants: wanted } = options
  const names = scenario.variants.map((v) => v.name)
  if (variant !== undefined && !names.includes(variant))
    throw unknown('variant', variant, names, `explore ${scenario.name} --variant`)
  const profile = kernelProfile(options.kernel ?? defaultKernel(scenario, variant))
  const { isIn, because, instead } = NEEDS[scenario.needs]
  if (!isIn(profile)) {
    throw new UserError({
      code: 'unusable-kernel-profile',
      what: `scenario ${scenario.name} cannot run under ${profile.name}`,
      where: '--kernel',
      because,
      fix: `try --kernel ${instead}`,
    })
  }
  const model = scenario.build({ kernel: profile.name, decoder, ...(variant === undefined ? {} : { variant }) })
  const invariants = [...model.invariants, HOST_GOES_ON]
  return { ...model, invariants: wanted == null ? invariants : pick(invariants, wanted, scenario.name) }
}
