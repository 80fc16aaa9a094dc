import { UserError } from '../../isa/user-error.ts'

let decoder: WebAssembly.Module | null = null

/**
 * Hands over iced-x86's compiled .wasm (`iced_x86_bg.wasm`, beside this library's bundle), which decodes instructions. Once,
 * before the first `Host`. The library itself never reads files, so that it runs in a browser too.
 */
export function registerDecoder(module: WebAssembly.Module): void {
  decoder = module
}

export function registeredDecoder(): WebAssembly.Module {
  if (decoder !== null) return decoder
  throw new UserError({
    code: 'no-decoder',
    what: 'no instruction decoder',
    where: 'Host',
    because: 'registerDecoder was not called and no decoder was given',
    fix: 'registerDecoder(new WebAssembly.Module(bytes of iced_x86_bg.wasm))',
  })
}
