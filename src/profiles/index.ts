import { nearestNames, suggestion, UserError } from '../isa/user-error.ts'
import type { KernelProfile } from './kernel-profile.ts'
import * as proposals from './proposals.ts'
import * as releases from './releases.ts'

export type { KernelProfile } from './kernel-profile.ts'

/** Every profile: releases oldest first, then proposals. */
export const kernelProfiles: readonly KernelProfile[] = [
  releases.linux515,
  releases.linux516,
  releases.linux517,
  releases.linux61_0,
  releases.linux61,
  releases.linux66_0,
  releases.linux66,
  releases.linux612_0,
  releases.linux612,
  releases.linux618_0,
  releases.linux618,
  proposals.guestPermissionIgnored,
  proposals.fpuReallocExit,
  proposals.fpuReallocInline,
  proposals.cetSupervisorKernelWide,
  proposals.cetSupervisorKvmManaged,
  proposals.splitLockV8,
  proposals.splitLockV8Fixed,
  proposals.splitLockV10,
]

export const DEFAULT_KERNEL_PROFILE = 'linux-6.12'

/** The profile called `name`. Throws `UserError` `unknown-kernel-profile` with the nearest names. */
export function kernelProfile(name: string): KernelProfile {
  const profile = kernelProfiles.find((p) => p.name === name)
  if (profile !== undefined) return profile
  const names = kernelProfiles.map((p) => p.name)
  const nearest = nearestNames(name, names)
  throw new UserError({
    code: 'unknown-kernel-profile',
    what: `unknown kernel profile '${name}'`,
    where: '--kernel',
    because: 'no such profile',
    fix: suggestion(nearest, `known profiles: ${names.join(', ')}`),
    nearest,
  })
}

export interface KernelProfileSummary {
  readonly name: string
  readonly title: string
  readonly source: string
}

/** Names and titles of all profiles, in the order in which `--kernel help` shows them. */
export function listKernelProfiles(): KernelProfileSummary[] {
  return kernelProfiles.map(({ name, title, source }) => ({ name, title, source }))
}
