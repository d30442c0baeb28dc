# LATENTD_SERVER=OFF: programs that are carried to machines with glibc and nothing else. What the distribution packages
# as an archive is linked from it; fmt and spdlog, which come as shared objects alone, are used as headers.
set(Protobuf_USE_STATIC_LIBS ON)

# The packaged targets of Abseil name the shared objects; the archives lie beside them.
get_directory_property(imported IMPORTED_TARGETS)
foreach(target ${imported})
  get_target_property(type ${target} TYPE)
  if(target MATCHES "^absl::" AND type STREQUAL "SHARED_LIBRARY")
    get_target_property(shared ${target} LOCATION)
    string(REGEX REPLACE "\\.so[.0-9]*$" ".a" archive ${shared})
    get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
    foreach(configuration ${configurations})
      set_target_properties(${target} PROPERTIES IMPORTED_LOCATION_${configuration} ${archive}
                                                 IMPORTED_SONAME_${configuration} "")
    endforeach()
  endif()
endforeach()

add_library(latentd_fmt ALIAS fmt::fmt-header-only)
add_library(latentd_spdlog INTERFACE)
target_compile_definitions(latentd_spdlog INTERFACE SPDLOG_FMT_EXTERNAL)
target_link_libraries(latentd_spdlog INTERFACE fmt::fmt-header-only Threads::Threads)

# latentd_carried(PROGRAM): small, stripped, and without the compiler's shared objects.
function(latentd_carried program)
  target_link_options(${program} PRIVATE -static-libstdc++ -static-libgcc -s -Wl,--gc-sections)
endfunction()
